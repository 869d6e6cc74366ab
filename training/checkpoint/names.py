"""Released tensor names against those of Network.state_dict(), and the format of each tensor."""

import enum
import re

import torch
from torch import Tensor

from training.errors import TrainingError


class Format(enum.Enum):
    FP4 = "fp4"
    FP8 = "fp8"
    BF16 = "bf16"
    F32 = "f32"
    I64 = "i64"


_FP8 = re.compile(r"(wq_a|wq_b|attn\.wkv|wo_a|wo_b|shared_experts\.w[123]|e_proj|h_proj)\.weight$")
_MTP_BLOCK = re.compile(r"^(mtp\.\d+\.)block\.")
_STACKED = re.compile(r"(.*\.ffn\.experts)\.(w[123])")
_F32 = re.compile(r"(^|\.)(hc_\w+|ape|attn_sink|gate\.bias)$")


def format_of(name: str) -> Format:
    """The format of a tensor, by its released name or by that in a network."""
    if name.endswith("tid2eid"):
        return Format.I64
    if ".ffn.experts." in name:
        return Format.FP4
    if _FP8.search(name):
        return Format.FP8
    return Format.F32 if _F32.search(name) else Format.BF16


def to_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of Network.state_dict() under released names, experts one by one, the head untied."""
    released: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = _MTP_BLOCK.sub(r"\1", name)
        stacked = _STACKED.fullmatch(name)
        if stacked is None:
            released[name] = tensor
            continue
        for expert, weight in enumerate(tensor):
            released[f"{stacked[1]}.{expert}.{stacked[2]}.weight"] = weight
    released.setdefault("head.weight", released["embed.weight"])
    return released


def from_released(released: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict with the names and shapes of `expected`, of dequantised released tensors."""
    state: dict[str, Tensor] = {}
    for name, like in expected.items():
        public = _MTP_BLOCK.sub(r"\1", name)
        stacked = _STACKED.fullmatch(public)
        if stacked is None:
            tensor = _found(released, public)
        else:
            names = [
                f"{stacked[1]}.{expert}.{stacked[2]}.weight" for expert in range(like.shape[0])
            ]
            tensor = torch.stack([_found(released, one) for one in names])
        if tensor.shape != like.shape:
            raise TrainingError(
                f"{public}: want the shape {list(like.shape)}, found {list(tensor.shape)}"
            )
        state[name] = tensor.to(like.dtype)
    return state


def _found(released: dict[str, Tensor], name: str) -> Tensor:
    if name not in released:
        raise TrainingError(f"the checkpoint lacks the tensor {name}")
    return released[name]
