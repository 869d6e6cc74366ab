"""The GPU kernels of Sinkhorn's normalisation against plain tensor operations and autograd."""

import pytest
import torch

from training.model import sinkhorn_gpu
from training.model.sinkhorn import sinkhorn, sinkhorn_backward, sinkhorn_steps

EPS = 1e-6
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def logits_of(n_tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_tokens)
    return 3 * torch.randn(n_tokens, 4, 4, generator=generator)


def autograd_gradient(logits: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    leaf = logits.clone().requires_grad_()
    sinkhorn_steps(leaf, 20, EPS).backward(gradient)
    assert leaf.grad is not None
    return leaf.grad


def test_columns_sum_to_one() -> None:
    comb = sinkhorn(logits_of(50), 20, EPS)
    assert torch.allclose(comb.sum(1), torch.ones(50, 4), atol=1e-5)


@pytest.mark.parametrize("n_tokens", [1, 64, 100])
def test_kernel_equals_steps(n_tokens: int) -> None:
    logits = logits_of(n_tokens)
    got = sinkhorn_gpu.forward(logits.to(DEVICE), 20, EPS).cpu()
    assert torch.allclose(got, sinkhorn_steps(logits, 20, EPS), atol=1e-6)


@pytest.mark.parametrize("n_tokens", [1, 64, 100])
def test_gradients_equal_autograd(n_tokens: int) -> None:
    logits = logits_of(n_tokens)
    gradient = torch.randn(n_tokens, 4, 4, generator=torch.Generator().manual_seed(0))
    want = autograd_gradient(logits, gradient)
    assert want.abs().max() > 0.01
    assert torch.allclose(sinkhorn_backward(logits, gradient, 20, EPS), want, atol=1e-5)
    on_gpu = sinkhorn_gpu.backward(logits.to(DEVICE), gradient.to(DEVICE), 20, EPS)
    assert torch.allclose(on_gpu.cpu(), want, atol=1e-5)
