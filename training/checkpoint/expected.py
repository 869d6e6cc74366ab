"""Expected values beside a checkpoint, in the layout that `precis verify` reads.

Every layer's input and outputs, its rows and selections, the logits and the MTP block's: so that
the engine is compared with the trainer one layer at a time.
"""

import torch
from torch import Tensor

from training.model.config import SPARSE, WINDOW
from training.model.indexer import select_best
from training.model.layout import Layout, make_layout
from training.model.network import Block, Network
from training.model.rounding import Numerics

N_SINGLE_STEPS = 11  # tokens after the prefill, when the engine reads them one by one


@torch.no_grad()
def expected_values(network: Network, token_ids: Tensor, numerics: Numerics) -> dict[str, Tensor]:
    """token_ids [n]; any n, later tokens of a last block change nothing before them."""
    n_tokens, n_layers = len(token_ids), network.config.num_hidden_layers
    padded = torch.cat(
        (token_ids, token_ids[-1:].expand(-n_tokens % network.config.sliding_window))
    )
    layout = make_layout(network.config, 1, len(padded), token_ids.device)
    n_best = torch.tensor(network.config.index_topk)
    values = {"input_ids": token_ids.int()}
    streams = network.first_streams(padded, numerics)
    for i in range(n_layers):
        block = network.block(i)
        x = attention_input(block, streams, numerics)
        out = block(streams, padded, layout, numerics, n_best)
        streams = out.streams
        values |= {
            f"streams.{i}": streams,
            f"attn_out.{i}": out.attn_out,
            f"ffn_out.{i}": out.ffn_out,
        }
        if block.attn.ratio != WINDOW:
            values[f"rows.{i}"] = block.attn.compressed_rows(x, layout, numerics)
        if block.attn.ratio == SPARSE:
            values[f"index_rows.{i}"] = block.attn.indexer.keys(x, layout, numerics)
            values[f"topk.{i}"] = selection(block, x, layout, numerics)
    matrix = network.matrix(numerics)
    values["logits"] = network.logits(streams, matrix, numerics)
    for mtp in network.mtp_blocks():
        next_ids = padded.roll(-1)
        embedded = network.embedded(next_ids, numerics)
        after = mtp(streams, embedded, next_ids, layout, numerics).streams
        values["mtp.logits"] = mtp.logits(after, matrix, numerics)[: n_prefill(n_tokens) - 1]
    return {name: _first(name, tensor, n_tokens, network) for name, tensor in values.items()}


def n_prefill(n_tokens: int) -> int:
    return n_tokens - N_SINGLE_STEPS


def attention_input(block: Block, streams: Tensor, numerics: Numerics) -> Tensor:
    """[N, D] that the attention of the block reads."""
    pre, _, _ = block.attention_mix(streams)
    return block.attention_input(streams, pre, numerics)


def selection(block: Block, x: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
    """[N, K] i32 of one sequence: the rows that each token reads, best first, then −1."""
    attention = block.attn
    n_most = attention.config.index_topk
    scores = attention.index_scores(x, layout, numerics)
    chosen = select_best(scores, layout.sparse_visible, torch.tensor(n_most), n_most)[0]
    best_first = scores[0].masked_fill(~chosen, -torch.inf)
    ranked = best_first.sort(dim=-1, descending=True, stable=True).indices
    n_chosen = chosen.sum(-1, keepdim=True)
    n_kept = min(n_most, ranked.shape[-1])
    rows = torch.full((len(x), n_most), -1, dtype=torch.int32)
    place = torch.arange(n_kept)
    rows[:, :n_kept] = torch.where(place < n_chosen, ranked[:, :n_kept], -1).int()
    return rows


def _first(name: str, tensor: Tensor, n_tokens: int, network: Network) -> Tensor:
    """What the given tokens, without the padding, account for."""
    kind, _, layer = name.partition(".")
    if kind in ("rows", "index_rows"):
        n_tokens //= network.config.ratio(int(layer))
    return tensor[:n_tokens].contiguous()
