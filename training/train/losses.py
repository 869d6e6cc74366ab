"""What is minimised: text, answers, the indexers' divergence, and the MTP block's text.

The MTP block reads the network's streams without a gradient, so that the network does not feel it.
"""

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from training.data.batches import Batch
from training.model.layout import HeavyOptions, make_layout
from training.model.network import Network
from training.model.rounding import Numerics


@dataclasses.dataclass(frozen=True)
class Losses:
    total: Tensor
    parts: dict[str, Tensor]  # scalars, by name
    correct: Tensor  # [B, T] whether the most likely token follows
    loads: list[Tensor]  # of each layer's experts, then of the MTP block's


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / (weights.sum() + 1)


def token_losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-> cross-entropy [N], whether the target is most likely [N]."""
    losses = functional.cross_entropy(logits, targets, reduction="none")
    return losses, logits.detach().argmax(-1) == targets


def losses_of(
    network: Network,
    batch: Batch,
    numerics: Numerics,
    *,
    index_weight: float,
    mtp_weight: float,
) -> Losses:
    """`mtp_weight` 0 leaves the MTP block out."""
    device = network.embed.weight.device
    n_sequences, n_tokens = batch.positions.shape
    heavy = HeavyOptions(batch.log_count, batch.distractors)
    layout = make_layout(network.config, n_sequences, n_tokens, device, batch.positions, heavy)
    ids = batch.token_ids.to(device)
    inputs, targets = ids[:, :-1].reshape(-1), ids[:, 1:].reshape(-1)
    text_weight = batch.text_weight.to(device).reshape(-1)
    answer_weight = batch.answer_weight.to(device).reshape(-1)

    outs = network(inputs, layout, numerics, torch.tensor(batch.n_best, device=device))
    matrix = network.matrix(numerics)
    streams = outs[-1].streams
    losses, correct = token_losses(network.logits(streams, matrix, numerics), targets)
    parts = {
        "text": weighted_mean(losses, text_weight),
        "answers": weighted_mean(losses, answer_weight),
        "index": torch.stack([out.index_loss for out in outs]).sum(),
    }
    total = parts["text"] + parts["answers"] + index_weight * parts["index"]
    loads = [out.load.detach() for out in outs]
    if mtp_weight:
        (mtp,) = network.mtp_blocks()
        embedded = network.embedded(targets, numerics).detach()
        out = mtp(streams.detach(), embedded, targets, layout, numerics)
        # The token after the next; the last of a sequence has none.
        after = ids[:, 1:].roll(-1, 1).reshape(-1)
        weight = (text_weight + answer_weight).view(n_sequences, -1).roll(-1, 1)
        weight = torch.cat((weight[:, :-1], torch.zeros_like(weight[:, -1:])), 1).reshape(-1)
        mtp_losses, _ = token_losses(mtp.logits(out.streams, matrix.detach(), numerics), after)
        parts["mtp"] = weighted_mean(mtp_losses, weight)
        total = total + mtp_weight * parts["mtp"]
        loads.append(out.load.detach())
    return Losses(total, parts, correct.view(n_sequences, -1), loads)
