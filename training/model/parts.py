"""The small modules that everything is built of; their attributes are the released tensor names."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model.rounding import Numerics


def scaled_to_unit(x: Tensor, eps: float) -> Tensor:
    """x / RMS(x) over the last axis, f32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, numerics: Numerics) -> Tensor:
        weight = numerics.bf16_weight(self.weight).float()
        return (scaled_to_unit(x, self.eps) * weight).to(numerics.dtype)


class Fp8Linear(nn.Module):
    """y = x · Wᵀ with an FP8 weight; the caller rounds x, once for all weights that read it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))

    def forward(self, x: Tensor, numerics: Numerics) -> Tensor:
        return functional.linear(x, numerics.fp8_weight(self.weight))


class Bf16Linear(nn.Module):
    """y = x · Wᵀ with a BF16 weight and an f32 result: TF32 holds every BF16 operand exactly."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))

    def forward(self, x: Tensor, numerics: Numerics) -> Tensor:
        return functional.linear(x.float(), numerics.bf16_weight(self.weight).float())
