"""The release's number formats: FP8 e4m3 and FP4 e2m1 in groups that share a power-of-two scale.

`fp8_groups`, `fp8_blocks` and `fp4_groups` return values on the format's grid and their scales; the
forward pass multiplies the two, the export writes the two.  One function each, so that a network
trained with rounding and the file written of it hold the same numbers.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

E4M3_MAX = 448.0
E2M1_MAX = 6.0
E4M3_FLOOR = 1e-4  # least maximum of a group: an all-zero group has a scale too
E2M1_FLOOR = E2M1_MAX * 2.0**-126
BLOCK = 128  # of FP8 weights, rows and columns
ACTIVATION_GROUP = 128
ROW_GROUP = 64
FP4_GROUP = 32


def power_of_two_above(x: Tensor) -> Tensor:
    """The least power of two that is not below x > 0, from the bits: a logarithm may round."""
    bits = x.float().view(torch.int32)
    exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0).int()
    return (exponent << 23).view(torch.float32)


def to_e4m3(x: Tensor) -> Tensor:
    """Nearest e4m3 value, ties to even; x within ±448."""
    return x.to(torch.float8_e4m3fn).to(torch.float32)


def to_e2m1(x: Tensor) -> Tensor:
    """Nearest e2m1 value (0, 0.5, 1, 1.5, 2, 3, 4, 6), ties to the even code; x within ±6."""
    magnitude = x.abs()
    step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    return torch.round(magnitude / step) * step * torch.sign(x)


def _scale(maximum: Tensor, floor: float, largest: float) -> Tensor:
    return power_of_two_above(maximum.clamp_min(floor) * (1.0 / largest))


def fp8_groups(x: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """[..., K] -> values [..., K / group, group] and scales [..., K / group, 1]."""
    grouped = x.float().unflatten(-1, (-1, group))
    scale = _scale(grouped.abs().amax(-1, keepdim=True), E4M3_FLOOR, E4M3_MAX)
    return to_e4m3((grouped / scale).clamp(-E4M3_MAX, E4M3_MAX)), scale


def fp4_groups(x: Tensor) -> tuple[Tensor, Tensor]:
    """[..., K] -> values [..., K / 32, 32] and scales [..., K / 32, 1]."""
    grouped = x.float().unflatten(-1, (-1, FP4_GROUP))
    scale = _scale(grouped.abs().amax(-1, keepdim=True), E2M1_FLOOR, E2M1_MAX)
    return to_e2m1((grouped / scale).clamp(-E2M1_MAX, E2M1_MAX)), scale


def fp8_blocks(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[out, in] -> values [out, in], scales [⌈out / 128⌉, ⌈in / 128⌉]; edges may be partial."""
    n_out, n_in = weight.shape
    padded = functional.pad(weight.float(), (0, -n_in % BLOCK, 0, -n_out % BLOCK))
    blocks = padded.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK))  # [o, 128, i, 128]
    scale = _scale(blocks.abs().amax((1, 3), keepdim=True), E4M3_FLOOR, E4M3_MAX)
    values = to_e4m3((blocks / scale).clamp(-E4M3_MAX, E4M3_MAX))
    return values.flatten(2, 3).flatten(0, 1)[:n_out, :n_in], scale[:, 0, :, 0]


def expand_blocks(scale: Tensor, n_out: int, n_in: int) -> Tensor:
    """The scale of every element of an FP8 weight."""
    return scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:n_out, :n_in]


class _Rounded(torch.autograd.Function):
    """`rounded` in the forward pass, the gradient of `x` unchanged in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor) -> Tensor:
        ctx.dtype = x.dtype
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].to(ctx.dtype), None


def rounded_through(x: Tensor, rounded: Tensor) -> Tensor:
    return _Rounded.apply(x, rounded.detach())


@dataclasses.dataclass(frozen=True)
class Numerics:
    """What is rounded, and in which type the large products run.

    The release rounds everything; a checkpoint of BF16 weights rounds no activations.  Training
    adds the rounding of weights last.
    """

    dtype: torch.dtype = torch.float32
    activations: bool = True  # in front of FP8 and FP4 weights
    rows: bool = True  # KV rows in FP8, index queries and keys in FP4
    weights: bool = True

    def activation(self, x: Tensor) -> Tensor:
        if not self.activations:
            return x
        values, scale = fp8_groups(x, ACTIVATION_GROUP)
        return rounded_through(x, (values * scale).flatten(-2).to(x.dtype))

    def row(self, row: Tensor, n_plain: int) -> Tensor:
        """A KV row: its first n_plain channels in FP8, the rotated ones as they are."""
        if not self.rows:
            return row
        plain, rotated = row[..., :n_plain], row[..., n_plain:]
        values, scale = fp8_groups(plain, ROW_GROUP)
        plain = rounded_through(plain, (values * scale).flatten(-2).to(row.dtype))
        return torch.cat((plain, rotated), -1)

    def index(self, x: Tensor) -> Tensor:
        """An index query or key."""
        if not self.rows:
            return x
        values, scale = fp4_groups(x)
        return rounded_through(x, (values * scale).flatten(-2).to(x.dtype))

    def fp8_weight(self, weight: Tensor) -> Tensor:
        if not self.weights:
            return weight.to(self.dtype)
        values, scale = fp8_blocks(weight)
        return rounded_through(
            weight, (values * expand_blocks(scale, *weight.shape)).to(self.dtype)
        )

    def fp4_weight(self, weight: Tensor) -> Tensor:
        if not self.weights:
            return weight.to(self.dtype)
        values, scale = fp4_groups(weight)
        return rounded_through(weight, (values * scale).flatten(-2).to(self.dtype))

    def bf16_weight(self, weight: Tensor) -> Tensor:
        if not self.weights:
            return weight.to(self.dtype)
        return rounded_through(weight, weight.to(torch.bfloat16).to(self.dtype))
