"""Compressed rows: R tokens become one row, by a softmax over tokens in every channel.

At ratio 4 a row also pools the four tokens before its block, through other channels of the same
projections: low channels for the block before, high channels for its own.
"""

import torch
from torch import Tensor, nn

from training.model.config import SPARSE, ModelConfig
from training.model.layout import Layout, every, rotate
from training.model.parts import Bf16Linear, RmsNorm
from training.model.rounding import Numerics


class Compressor(nn.Module):
    def __init__(self, config: ModelConfig, ratio: int, width: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.width = width
        n_out = 2 * width if ratio == SPARSE else width
        self.ape = nn.Parameter(torch.zeros(ratio, n_out))
        self.wkv = Bf16Linear(config.hidden_size, n_out)
        self.wgate = Bf16Linear(config.hidden_size, n_out)
        self.norm = RmsNorm(width, config.rms_norm_eps)

    def forward(self, x: Tensor, layout: Layout, numerics: Numerics) -> Tensor:
        """x [N, D] -> rows [N / R, width], rotated to the positions of their first tokens."""
        values = self.wkv(x, numerics).unflatten(0, (-1, self.ratio))
        gates = self.wgate(x, numerics).unflatten(0, (-1, self.ratio)) + self.ape
        if self.ratio == SPARSE:
            values, gates = self._with_block_before(values, gates, layout.starts_sparse)
        pooled = (values * gates.softmax(1)).sum(1).to(numerics.dtype)
        return rotate(self.norm(pooled, numerics), every(layout.far_angles, self.ratio))

    def _with_block_before(
        self, values: Tensor, gates: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[N / 4, 4, 2w] twice -> [N / 4, 8, w]: the tokens of the block before, then its own."""
        before, own = values.split(self.width, -1)
        gates_before, gates_own = gates.split(self.width, -1)
        before = torch.cat((before[:1], before[:-1]))
        gates_before = torch.cat((gates_before[:1], gates_before[:-1]))
        gates_before = gates_before.masked_fill(starts[:, None, None], -torch.inf)
        return torch.cat((before, own), 1), torch.cat((gates_before, gates_own), 1)
