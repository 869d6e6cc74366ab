"""The shape of a network, read from a `config.json` in the released field names.

Letters in shape comments are those of docs/glossary.md: N tokens of the whole batch, B sequences,
T tokens of a sequence, D model width, M streams, H heads, Dh head width, R compression ratio,
E experts, F expert width, V vocabulary.
"""

import dataclasses
import json
import pathlib
from typing import Any

from training.errors import TrainingError

WINDOW = 0  # compression ratios name the kinds of layers
SPARSE = 4
HEAVY = 128


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary angles: YaRN stretches those of layers that compress."""

    theta: float
    compress_theta: float
    factor: float
    original_positions: int
    beta_fast: float
    beta_slow: float


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Fields keep their released names; `rope` collects what the release spreads over three."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    compress_ratios: tuple[int, ...]
    num_nextn_predict_layers: int
    num_attention_heads: int
    head_dim: int
    qk_rope_head_dim: int
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    sliding_window: int
    index_n_heads: int
    index_head_dim: int
    index_topk: int
    n_routed_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    num_hash_layers: int
    routed_scaling_factor: float
    swiglu_limit: float
    hc_mult: int
    hc_sinkhorn_iters: int
    hc_eps: float
    rms_norm_eps: float
    rope: Rope

    def __post_init__(self) -> None:
        for ratio in self.compress_ratios[: self.num_hidden_layers]:
            if ratio not in (WINDOW, SPARSE, HEAVY):
                raise TrainingError(f"compress_ratios: want 0, 4 or 128, found {ratio}")
        for name, divisor in (
            ("hidden_size", 128),
            ("moe_intermediate_size", 128),
            ("sliding_window", HEAVY),
        ):
            if getattr(self, name) % divisor:
                raise TrainingError(
                    f"{name}: want a multiple of {divisor}, found {getattr(self, name)}"
                )

    @property
    def plain_channels(self) -> int:
        """Channels of a row that are not rotated."""
        return self.head_dim - self.qk_rope_head_dim

    def ratio(self, layer: int) -> int:
        return self.compress_ratios[layer]

    def uses_hash(self, layer: int) -> bool:
        return layer < self.num_hash_layers


def config_from_json(fields: dict[str, Any]) -> ModelConfig:
    scaling = fields["rope_scaling"]
    rope = Rope(
        theta=float(fields["rope_theta"]),
        compress_theta=float(fields["compress_rope_theta"]),
        factor=float(scaling["factor"]),
        original_positions=int(scaling["original_max_position_embeddings"]),
        beta_fast=float(scaling["beta_fast"]),
        beta_slow=float(scaling["beta_slow"]),
    )
    names = [field.name for field in dataclasses.fields(ModelConfig) if field.name != "rope"]
    values = {name: fields[name] for name in names}
    values["compress_ratios"] = tuple(values["compress_ratios"])
    return ModelConfig(**values, rope=rope)


def load_config(path: pathlib.Path) -> ModelConfig:
    try:
        return config_from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} does not exist: want a config.json in the released field names"
        ) from error
    except KeyError as error:
        raise TrainingError(f"{path} lacks the field {error}") from error
