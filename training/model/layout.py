"""Where the tokens of a batch stand: rotary angles, starts of sequences, rows a token may see.

A batch is B sequences of T tokens, T a multiple of 128, laid end to end: N = B · T.  Visibility
counts tokens.  Positions may jump: the window sees neighbours at their true distances, compressed
attention sees the jumped positions, so that short sequences show every distance up to 2²⁰
(positional skips).  Jumps lie on multiples of 128, so that blocks stay whole.
"""

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.model.config import HEAVY, SPARSE, WINDOW, ModelConfig, Rope

Angles = tuple[Tensor, Tensor]  # cosine and sine, [N, Dr / 2] f32


def frequencies(config: ModelConfig, ratio: int) -> Tensor:
    """[Dr / 2] f32; all of a compressing layer is stretched by YaRN.  Source: docs/model.md."""
    rope, width = config.rope, config.qk_rope_head_dim
    theta = rope.theta if ratio == WINDOW else rope.compress_theta
    frequency = 1.0 / (theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    if ratio == WINDOW:
        return frequency
    low = max(math.floor(_turning_pair(rope, theta, width, rope.beta_fast)), 0)
    high = min(math.ceil(_turning_pair(rope, theta, width, rope.beta_slow)), width - 1)
    pairs = torch.arange(width // 2, dtype=torch.float32)
    ramp = ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
    return frequency / rope.factor * ramp + frequency * (1 - ramp)


def _turning_pair(rope: Rope, theta: float, width: int, n_turns: float) -> float:
    """The pair that turns n_turns times within the original context."""
    return (
        width * math.log(rope.original_positions / (n_turns * 2 * math.pi)) / (2 * math.log(theta))
    )


def angles(positions: Tensor, frequency: Tensor) -> Angles:
    # The product stays f32, as in the release: near position 2²⁰ another type turns visibly.
    angle = positions.float().unsqueeze(-1) * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: Angles, *, back: bool = False) -> Tensor:
    """Turns the last Dr channels of x [N, ..., C] in pairs (2j, 2j + 1)."""
    cos, sin = turn
    if back:
        sin = -sin
    for _ in range(x.dim() - 2):
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    n_rotated = 2 * cos.shape[-1]
    plain, rotated = x[..., :-n_rotated], x[..., -n_rotated:].float()
    even, odd = rotated[..., 0::2], rotated[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    return torch.cat((plain, turned.to(x.dtype)), -1)


def every(turn: Angles, ratio: int) -> Angles:
    """The angles of the first tokens of blocks."""
    return turn[0][::ratio], turn[1][::ratio]


@dataclasses.dataclass(frozen=True)
class HeavyOptions:
    """What makes the few heavily compressed rows of a short sequence look like those of a long one.

    `log_count` [B] is added to their logits, as if each were there that many times; with
    `distractors` a token also sees rows of other sequences that lie before it.
    """

    log_count: Tensor
    distractors: bool


class Layout(NamedTuple):
    n_sequences: int
    n_tokens: int  # of one sequence
    window_angles: Angles  # of layers without compression
    near_angles: Angles  # of compressing layers, true positions
    far_angles: Angles  # of compressing layers, jumped positions
    starts_window: Tensor  # [N / window] bool: no block before this one
    starts_sparse: Tensor  # [N / 4] bool
    sparse_visible: Tensor  # [T, T / 4] bool
    heavy_visible: Tensor  # [N, N / 128] bool
    heavy_log_count: Tensor  # [N] f32


def make_layout(
    config: ModelConfig,
    n_sequences: int,
    n_tokens: int,
    device: torch.device,
    positions: Tensor | None = None,
    heavy: HeavyOptions | None = None,
) -> Layout:
    """`positions` [B, T] are those of compressed attention; the true ones where it is left out."""
    n_all = n_sequences * n_tokens
    token = torch.arange(n_tokens, device=device)
    true = token.repeat(n_sequences)
    jumped = true if positions is None else positions.reshape(-1).to(device)
    stretched = frequencies(config, SPARSE).to(device)
    near = angles(true, stretched)
    blocks = torch.arange(n_tokens // SPARSE, device=device)
    log_count = (
        torch.zeros(n_sequences, device=device) if heavy is None else heavy.log_count.to(device)
    )
    distractors = heavy is not None and heavy.distractors
    return Layout(
        n_sequences=n_sequences,
        n_tokens=n_tokens,
        window_angles=angles(true, frequencies(config, WINDOW).to(device)),
        near_angles=near,
        far_angles=near if positions is None else angles(jumped, stretched),
        starts_window=true[:: config.sliding_window] == 0,
        starts_sparse=true[::SPARSE] == 0,
        sparse_visible=blocks[None] < ((token + 1) // SPARSE)[:, None],
        heavy_visible=_heavy_visible(n_all, n_tokens, true, jumped, distractors),
        heavy_log_count=log_count.repeat_interleave(n_tokens),
    )


def _heavy_visible(
    n_all: int, n_tokens: int, true: Tensor, jumped: Tensor, distractors: bool
) -> Tensor:
    sequence = torch.arange(n_all, device=true.device) // n_tokens
    first = torch.arange(0, n_all, HEAVY, device=true.device)  # first token of each row
    same = sequence[:, None] == sequence[first][None]
    finished = true[first][None] + HEAVY <= true[:, None] + 1
    visible = same & finished
    if distractors:
        visible |= ~same & (jumped[first][None] + HEAVY <= jumped[:, None] + 1)
    return visible
