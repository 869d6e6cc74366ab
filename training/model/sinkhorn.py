"""Sinkhorn normalisation of small matrices, one per token, with its gradient.

Twenty rounds over a 4 × 4 matrix are hundreds of tiny steps: on a GPU one Triton kernel does them
in registers (sinkhorn_gpu.py); elsewhere plain tensor operations do.
"""

import torch
from torch import Tensor


def sinkhorn_steps(logits: Tensor, n_rounds: int, eps: float) -> Tensor:
    """[N, M, M] -> the same, rows then columns normalised n_rounds times; columns come last."""
    comb = torch.softmax(logits, -1) + eps
    comb = comb / (comb.sum(-2, keepdim=True) + eps)
    for _ in range(n_rounds - 1):
        comb = comb / (comb.sum(-1, keepdim=True) + eps)
        comb = comb / (comb.sum(-2, keepdim=True) + eps)
    return comb


@torch.library.custom_op("precis::sinkhorn", mutates_args=())
def sinkhorn(logits: Tensor, n_rounds: int, eps: float) -> Tensor:
    """As sinkhorn_steps; opaque to the compiler, which would unroll and unfuse the steps."""
    return sinkhorn_steps(logits, n_rounds, eps)


@torch.library.custom_op("precis::sinkhorn_backward", mutates_args=())
def sinkhorn_backward(logits: Tensor, gradient: Tensor, n_rounds: int, eps: float) -> Tensor:
    """The gradient of sinkhorn: of y = x / s with s = Σx + eps it is (g − Σ g·y) / s."""
    steps: list[tuple[int, Tensor, Tensor]] = []  # axis, s, y

    def normalised(x: Tensor, axis: int) -> Tensor:
        total = x.sum(axis, keepdim=True) + eps
        steps.append((axis, total, x / total))
        return steps[-1][2]

    probability = torch.softmax(logits, -1)
    comb = normalised(probability + eps, -2)
    for _ in range(n_rounds - 1):
        comb = normalised(normalised(comb, -1), -2)
    for axis, total, y in reversed(steps):
        gradient = (gradient - (gradient * y).sum(axis, keepdim=True)) / total
    return probability * (gradient - (gradient * probability).sum(-1, keepdim=True))


@sinkhorn.register_kernel("cuda")
def _(logits: Tensor, n_rounds: int, eps: float) -> Tensor:
    from training.model import sinkhorn_gpu

    return sinkhorn_gpu.forward(logits, n_rounds, eps)


@sinkhorn_backward.register_kernel("cuda")
def _(logits: Tensor, gradient: Tensor, n_rounds: int, eps: float) -> Tensor:
    from training.model import sinkhorn_gpu

    return sinkhorn_gpu.backward(logits, gradient, n_rounds, eps)


@sinkhorn.register_fake
def _(logits: Tensor, n_rounds: int, eps: float) -> Tensor:
    return torch.empty_like(logits)


@sinkhorn_backward.register_fake
def _(logits: Tensor, gradient: Tensor, n_rounds: int, eps: float) -> Tensor:
    return torch.empty_like(logits)


def _keep(ctx: object, inputs: tuple[Tensor, int, float], output: Tensor) -> None:
    logits, ctx.n_rounds, ctx.eps = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(logits)  # type: ignore[attr-defined]


def _gradient(ctx: object, gradient: Tensor) -> tuple[Tensor, None, None]:
    (logits,) = ctx.saved_tensors  # type: ignore[attr-defined]
    n_rounds, eps = ctx.n_rounds, ctx.eps  # type: ignore[attr-defined]
    return sinkhorn_backward(logits, gradient.contiguous(), n_rounds, eps), None, None


sinkhorn.register_autograd(_gradient, setup_context=_keep)
