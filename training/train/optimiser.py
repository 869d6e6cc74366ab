"""Muon for matrices, AdamW for everything else.

Muon's update is its momentum made orthogonal, of one size whatever the gradient's, so only AdamW's
gradients are clipped.  Matrices of one shape are made orthogonal together; a stack of experts is
many matrices.  Source: Jordan et al., "Muon" (2024); scale of Liu et al., arXiv 2502.16982.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.checkpoint.names import Format, format_of
from training.model.network import Network
from training.train.recipe import Recipe

MOMENTUM = 0.95
N_ROUNDS = 5
UPDATE_RMS = 0.2
ADAM_BETAS = (0.9, 0.95)
SLOW_PARTS = ("hc_", "norm", "ape", "sink")  # half the rate
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonal(x: Tensor) -> Tensor:
    """[..., r, c] -> about U·Vᵀ of each matrix, by Newton–Schulz rounds."""
    a, b, c = QUINTIC
    wide = x.shape[-2] <= x.shape[-1]
    y = x if wide else x.mT
    y = y.bfloat16() if x.is_cuda else y
    y = y / (y.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).to(y.dtype)
    for _ in range(N_ROUNDS):
        gram = y @ y.mT
        y = a * y + (b * gram + c * (gram @ gram)) @ y
    return (y if wide else y.mT).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        super().__init__(parameters, {"lr": 0.0, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape[-2:], []).append(parameter)
            for same in by_shape.values():
                self._step_together(same, group["lr"], group["decay"])

    def _step_together(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        directions = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            nesterov = gradient.lerp(momentum, MOMENTUM)
            directions.append(nesterov.view(-1, *nesterov.shape[-2:]))
        updates = orthogonal(torch.cat(directions)).split([len(one) for one in directions])
        scale = UPDATE_RMS * math.sqrt(max(parameters[0].shape[-2:]))
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - rate * decay)
            parameter.add_(update.view_as(parameter), alpha=-rate * scale)


class Optimiser:
    """Both, with the recipe's rates."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self._recipe = recipe
        matrices, slow, others = [], [], []
        for name, parameter in network.named_parameters():
            if is_matrix(name):
                matrices.append(parameter)
            elif any(part in name for part in SLOW_PARTS):
                slow.append(parameter)
            else:
                others.append(parameter)
        self.clipped = [*slow, *others]
        self.muon = Muon(matrices, recipe.decay)
        fused = others[0].is_cuda
        self.adam = torch.optim.AdamW(
            [{"params": others, "share": 1.0}, {"params": slow, "share": 0.5}],
            lr=0.0,
            betas=ADAM_BETAS,
            eps=1e-10,
            weight_decay=0.0,
            fused=fused,
        )

    def step(self, rate: float) -> Tensor:
        """One update at a share of the peak rates; returns the norm of AdamW's gradients."""
        norm = torch.nn.utils.clip_grad_norm_(self.clipped, self._recipe.clip)
        for group in self.muon.param_groups:
            group["lr"] = self._recipe.matrix_rate * rate
        for group in self.adam.param_groups:
            group["lr"] = self._recipe.other_rate * rate * group["share"]
        self.muon.step()
        self.adam.step()
        return norm

    def state_dict(self) -> dict[str, object]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def is_matrix(name: str) -> bool:
    """By the name of a parameter of Network."""
    return ".compressor.w" in name or format_of(name) in (Format.FP8, Format.FP4)
