"""Sinkhorn normalisation in one Triton kernel each way; every token's matrix stays in registers.

The backward kernel runs the rounds again and keeps only the sums that it divided by (M floats a
round and token, in scratch memory): from y = x / s it gets back to x = y · s.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_TOKENS = 64


@triton.jit
def _start(logits, eps):
    shifted = tl.exp(logits - tl.max(logits, 2)[:, :, None])
    return shifted / tl.sum(shifted, 2)[:, :, None] + eps


@triton.jit
def _forward(
    gLogits, gComb, n_tokens, eps, ROUNDS: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr
):
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    at = token[:, None, None] * M * M + cell[None]
    inside = (token < n_tokens)[:, None, None]
    comb = _start(tl.load(gLogits + at, inside, 0.0), eps)
    comb = comb / (tl.sum(comb, 1) + eps)[:, None, :]
    for _ in range(ROUNDS - 1):
        comb = comb / (tl.sum(comb, 2) + eps)[:, :, None]
        comb = comb / (tl.sum(comb, 1) + eps)[:, None, :]
    tl.store(gComb + at, comb, inside)


@triton.jit
def _backward(
    gLogits,
    gGradient,
    gOut,
    gSums,
    n_tokens,
    eps,
    ROUNDS: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    at = token[:, None, None] * M * M + cell[None]
    inside = (token < n_tokens)[:, None, None]
    sums_at = token[:, None] * M + tl.arange(0, M)[None, :]  # of round 0; a round has two planes
    sums_inside = (token < n_tokens)[:, None]
    plane = n_tokens * M

    first = _start(tl.load(gLogits + at, inside, 0.0), eps)
    sums = tl.sum(first, 1) + eps
    tl.store(gSums + sums_at, sums, sums_inside)
    comb = first / sums[:, None, :]
    for i in range(1, ROUNDS):
        sums = tl.sum(comb, 2) + eps
        tl.store(gSums + (2 * i - 1) * plane + sums_at, sums, sums_inside)
        comb = comb / sums[:, :, None]
        sums = tl.sum(comb, 1) + eps
        tl.store(gSums + 2 * i * plane + sums_at, sums, sums_inside)
        comb = comb / sums[:, None, :]

    tl.debug_barrier()  # the sums may be read by other threads than wrote them
    # d/dx of x / (Σx + eps) applied to g: (g − Σ g·y) / s.
    g = tl.load(gGradient + at, inside, 0.0)
    for j in range(1, ROUNDS):
        i = ROUNDS - j
        sums = tl.load(gSums + 2 * i * plane + sums_at, sums_inside, 1.0)
        g = (g - tl.sum(g * comb, 1)[:, None, :]) / sums[:, None, :]
        comb = comb * sums[:, None, :]
        sums = tl.load(gSums + (2 * i - 1) * plane + sums_at, sums_inside, 1.0)
        g = (g - tl.sum(g * comb, 2)[:, :, None]) / sums[:, :, None]
        comb = comb * sums[:, :, None]
    sums = tl.load(gSums + sums_at, sums_inside, 1.0)
    g = (g - tl.sum(g * comb, 1)[:, None, :]) / sums[:, None, :]
    probability = first - eps
    g = probability * (g - tl.sum(g * probability, 2)[:, :, None])
    tl.store(gOut + at, g, inside)


def forward(logits: Tensor, n_rounds: int, eps: float) -> Tensor:
    n_tokens, n_streams, _ = logits.shape
    comb = torch.empty_like(logits)
    grid = (triton.cdiv(n_tokens, BLOCK_TOKENS),)
    _forward[grid](logits, comb, n_tokens, eps, ROUNDS=n_rounds, M=n_streams, BLOCK=BLOCK_TOKENS)
    return comb


def backward(logits: Tensor, gradient: Tensor, n_rounds: int, eps: float) -> Tensor:
    n_tokens, n_streams, _ = logits.shape
    out = torch.empty_like(logits)
    sums = torch.empty((2 * n_rounds - 1, n_tokens, n_streams), device=logits.device)
    grid = (triton.cdiv(n_tokens, BLOCK_TOKENS),)
    _backward[grid](
        logits, gradient, out, sums, n_tokens, eps, ROUNDS=n_rounds, M=n_streams, BLOCK=BLOCK_TOKENS
    )
    return out
