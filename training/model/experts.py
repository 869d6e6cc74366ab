"""Mixture of experts for training: all experts run as one product, most of them with weight 0.

At sixteen small experts that costs less than gathering tokens.  The weights are exactly 0, so
results and gradients are those of the routed sum.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model.config import ModelConfig
from training.model.parts import Fp8Linear
from training.model.rounding import Numerics


class ExpertsOut(NamedTuple):
    out: Tensor  # [N, D]
    load: Tensor  # [E] share of choices, f32; sums to 1


class Gate(nn.Module):
    """Which experts a token uses: by a table of token numbers, or by score and a balancing bias."""

    bias: Tensor
    tid2eid: Tensor

    def __init__(self, config: ModelConfig, uses_hash: bool) -> None:
        super().__init__()
        self.config = config
        self.uses_hash = uses_hash
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        if uses_hash:
            table = torch.zeros(config.vocab_size, config.num_experts_per_tok, dtype=torch.long)
            self.register_buffer("tid2eid", table)
        else:
            self.register_buffer("bias", torch.zeros(config.n_routed_experts))

    def forward(self, x: Tensor, token_ids: Tensor, numerics: Numerics) -> tuple[Tensor, Tensor]:
        """-> routing weights [N, E] f32, 0 where not routed; 0 or 1 [N, E]."""
        scores = functional.linear(x.float(), numerics.bf16_weight(self.weight).float())
        scores = functional.softplus(scores).sqrt()
        if self.uses_hash:
            experts = self.tid2eid[token_ids]
        else:
            experts = (
                (scores.detach() + self.bias).topk(self.config.num_experts_per_tok, -1).indices
            )
        routed = torch.zeros_like(scores).scatter(-1, experts, 1.0)
        kept = scores * routed
        weights = kept / kept.sum(-1, keepdim=True) * self.config.routed_scaling_factor
        return weights, routed


class RoutedExperts(nn.Module):
    """w1 gate and w3 up [E, F, D], w2 down [E, D, F], FP4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n_experts, inner, width = (
            config.n_routed_experts,
            config.moe_intermediate_size,
            config.hidden_size,
        )
        self.limit = config.swiglu_limit
        self.w1 = nn.Parameter(torch.empty(n_experts, inner, width))
        self.w3 = nn.Parameter(torch.empty(n_experts, inner, width))
        self.w2 = nn.Parameter(torch.empty(n_experts, width, inner))

    def forward(self, x: Tensor, weights: Tensor, numerics: Numerics) -> Tensor:
        n_experts, inner, _ = self.w1.shape
        gate = functional.linear(x, numerics.fp4_weight(self.w1).flatten(0, 1))
        up = functional.linear(x, numerics.fp4_weight(self.w3).flatten(0, 1))
        active = swiglu(gate, up, self.limit).unflatten(-1, (n_experts, inner)) * weights.unsqueeze(
            -1
        )
        rounded = numerics.activation(active.flatten(1).to(numerics.dtype))
        down = numerics.fp4_weight(self.w2).permute(1, 0, 2).flatten(1)  # [D, E · F]
        return functional.linear(rounded, down)


class SharedExpert(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.limit = config.swiglu_limit
        self.w1 = Fp8Linear(config.hidden_size, config.moe_intermediate_size)
        self.w3 = Fp8Linear(config.hidden_size, config.moe_intermediate_size)
        self.w2 = Fp8Linear(config.moe_intermediate_size, config.hidden_size)

    def forward(self, x: Tensor, numerics: Numerics) -> Tensor:
        active = swiglu(self.w1(x, numerics), self.w3(x, numerics), self.limit)
        return self.w2(numerics.activation(active.to(numerics.dtype)), numerics)


def swiglu(gate: Tensor, up: Tensor, limit: float) -> Tensor:
    """The gate is clamped from above only."""
    return functional.silu(gate.float().clamp(max=limit)) * up.float().clamp(-limit, limit)


class Experts(nn.Module):
    def __init__(self, config: ModelConfig, uses_hash: bool) -> None:
        super().__init__()
        self.gate = Gate(config, uses_hash)
        self.experts = RoutedExperts(config)
        self.shared_experts = SharedExpert(config)

    def forward(self, x: Tensor, token_ids: Tensor, numerics: Numerics) -> ExpertsOut:
        weights, routed = self.gate(x, token_ids, numerics)
        rounded = numerics.activation(x)
        out = self.experts(rounded, weights, numerics).float()
        out = out + self.shared_experts(rounded, numerics).float()
        return ExpertsOut(out.to(numerics.dtype), routed.mean(0) / routed.sum(-1).mean())
