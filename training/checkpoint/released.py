"""The released format: FP8 weights with scales per 128 × 128, FP4 experts per 32, BF16, F32, I64.

`encoded` writes what `Numerics(weights=True)` computes with, from the same rounding functions.
"""

import pathlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.checkpoint.names import Format, format_of
from training.errors import TrainingError
from training.model.rounding import expand_blocks, fp4_groups, fp8_blocks

_E2M1_CODES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def encoded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Released names and f32 values -> a file's tensors, `.scale` beside every quantised one."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        match format_of(name):
            case Format.FP8:
                values, scale = fp8_blocks(tensor)
                out[name] = values.to(torch.float8_e4m3fn)
                out[_scale_name(name)] = _e8m0(scale)
            case Format.FP4:
                grouped, scale = fp4_groups(tensor)
                out[name] = _packed(grouped.flatten(-2))
                out[_scale_name(name)] = _e8m0(scale.squeeze(-1))
            case Format.BF16:
                out[name] = tensor.to(torch.bfloat16)
            case Format.F32:
                out[name] = tensor.float()
            case Format.I64:
                out[name] = tensor.long()
    return {name: tensor.contiguous() for name, tensor in out.items()}


def decoded(file: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values that a file's tensors stand for, f32 (integers stay), without scales."""
    out: dict[str, Tensor] = {}
    for name, tensor in file.items():
        if name.endswith(".scale"):
            continue
        if tensor.dtype == torch.float8_e4m3fn:
            scale = _from_e8m0(_scale_of(file, name))
            out[name] = tensor.float() * expand_blocks(scale, *tensor.shape)
        elif tensor.dtype == torch.int8:
            scale = _from_e8m0(_scale_of(file, name)).unsqueeze(-1)
            out[name] = (_unpacked(tensor).unflatten(-1, (scale.shape[-2], -1)) * scale).flatten(-2)
        elif tensor.dtype == torch.int64:
            out[name] = tensor
        else:
            out[name] = tensor.float()
    return out


def write_tensors(
    path: pathlib.Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    save_file(tensors, str(path), metadata={"format": "pt"} | (metadata or {}))
    path.chmod(0o644)  # the package leaves it to its owner alone


def read_tensors(path: pathlib.Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist: want a safetensors file") from error
    except SafetensorError as error:
        raise TrainingError(f"{path} is damaged: want a safetensors file, found {error}") from error


def _scale_name(name: str) -> str:
    return name.removesuffix(".weight") + ".scale"


def _scale_of(file: dict[str, Tensor], name: str) -> Tensor:
    if _scale_name(name) not in file:
        raise TrainingError(f"{name} is quantised, but the checkpoint lacks {_scale_name(name)}")
    return file[_scale_name(name)]


def _e8m0(scale: Tensor) -> Tensor:
    """Powers of two as their exponent bytes."""
    return (scale.contiguous().view(torch.int32) >> 23).to(torch.uint8).view(torch.float8_e8m0fnu)


def _from_e8m0(scale: Tensor) -> Tensor:
    return (scale.view(torch.uint8).int() << 23).view(torch.float32)


def _packed(values: Tensor) -> Tensor:
    """Two FP4 codes a byte, the even column in the low nibble; bit 3 is the sign."""
    codes = torch.bucketize(values.abs(), _E2M1_CODES).to(torch.uint8) | (
        values.signbit().to(torch.uint8) << 3
    )
    return (codes[..., 0::2] | (codes[..., 1::2] << 4)).view(torch.int8)


def _unpacked(packed: Tensor) -> Tensor:
    bytes_ = packed.view(torch.uint8).int()
    codes = torch.stack((bytes_ & 15, bytes_ >> 4), -1).flatten(-2)
    return _E2M1_CODES[codes & 7] * (1 - 2 * (codes >> 3))
