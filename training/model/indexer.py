"""The lightning indexer: cheap scores of all compressed rows, of which attention reads the best."""

import torch
from torch import Tensor, nn

from training.model.compressor import Compressor
from training.model.config import SPARSE, ModelConfig
from training.model.layout import Layout, rotate
from training.model.parts import Bf16Linear, Fp8Linear
from training.model.rounding import Numerics

NEVER = -1e30  # a finite -inf: a row of nothing else has a softmax


def hadamard(width: int, like: Tensor) -> Tensor:
    """The orthonormal Walsh–Hadamard matrix in Sylvester's order."""
    matrix = torch.ones(1, 1, dtype=torch.float32, device=like.device)
    while matrix.shape[0] < width:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return (matrix * width**-0.5).to(like.dtype)


class Indexer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads = config.index_n_heads
        self.width = config.index_head_dim
        self.wq_b = Fp8Linear(config.q_lora_rank, self.n_heads * self.width)
        self.weights_proj = Bf16Linear(config.hidden_size, self.n_heads)
        self.compressor = Compressor(config, SPARSE, self.width)

    def keys(self, x: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
        """x [N, D] -> [N / 4, Di]"""
        rows = self.compressor(x, layout, numerics)
        return numerics.index(rows @ hadamard(self.width, rows))

    def forward(self, x: Tensor, qr: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
        """x [N, D], rounded latent qr [N, Lq] -> scores [B, T, T / 4] f32, NEVER where unseen."""
        queries = self.wq_b(qr, numerics).unflatten(-1, (self.n_heads, self.width))
        queries = rotate(queries, layout.far_angles)
        queries = numerics.index(queries @ hadamard(self.width, queries))
        weights = self.weights_proj(x, numerics) * (self.width**-0.5 * self.n_heads**-0.5)
        keys = self.keys(x, layout, numerics).unflatten(0, (layout.n_sequences, -1))  # [B, T/4, Di]
        products = queries.view(layout.n_sequences, -1, self.width) @ keys.transpose(1, 2)
        products = (
            products.view(layout.n_sequences, layout.n_tokens, self.n_heads, -1).relu().float()
        )
        scores = (products * weights.view(layout.n_sequences, layout.n_tokens, -1, 1)).sum(2)
        return scores.masked_fill(~layout.sparse_visible, NEVER)


def select_best(scores: Tensor, visible: Tensor, n_best: Tensor, n_most: int) -> Tensor:
    """scores [B, T, S] -> which rows are read, bool; n_best = 0 reads all that are visible.

    n_best is a tensor and n_most a bound of it, so that one compiled graph serves every value.
    """
    n_most = min(n_most, scores.shape[-1])
    best = scores.detach().topk(n_most, -1).indices
    rank = torch.arange(n_most, device=scores.device)
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen = chosen.scatter(-1, best, (rank < n_best).expand(best.shape))
    return (chosen | (n_best == 0)) & visible


def index_loss(scores: Tensor, attention: Tensor, chosen: Tensor) -> Tensor:
    """How far softmax(scores) is from where attention went: KL, weighted by the attention's mass.

    scores [B, T, S]; attention [B, T, S], summed over heads and without gradient; both are compared
    over the chosen rows.  Equal distributions give 0.
    """
    mass = attention.sum(-1)
    scores = scores.masked_fill(~chosen, NEVER)
    cross = mass * scores.logsumexp(-1) - (attention * scores.masked_fill(~chosen, 0)).sum(-1)
    entropy = torch.xlogy(mass, mass) - torch.xlogy(attention, attention).sum(-1)
    return (cross - entropy).sum() / (mass.sum() + 1e-3)
