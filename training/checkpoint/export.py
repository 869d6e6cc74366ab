"""Writes a network as a released checkpoint, and proves the file by reading it back."""

import pathlib
import shutil

import torch
from torch import Tensor

from training.checkpoint.expected import expected_values, n_prefill
from training.checkpoint.load import load_network
from training.checkpoint.names import to_released
from training.checkpoint.released import encoded, write_tensors
from training.errors import TrainingError
from training.model.network import Network
from training.model.rounding import Numerics

COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
TRAINED = Numerics(weights=True)  # what the quantisation-aware stage computes, in f32
READ_BACK = Numerics(weights=False)  # the file's values are rounded already


def write_release(
    network: Network, described_by: list[pathlib.Path], directory: pathlib.Path, prompt: Tensor
) -> None:
    """`described_by` hold config.json and, where there is one, the tokenizer; all are copied.

    Beside the model lie the expected values of `prompt` for `precis verify`.  Raises TrainingError
    if the file, read back, gives other logits than the network that was trained.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        for source in described_by:
            if (source / name).exists():
                shutil.copyfile(source / name, directory / name)
    write_tensors(directory / "model.safetensors", encoded(to_released(network.state_dict())))
    want = expected_values(network, prompt, TRAINED)
    got = expected_values(load_network(directory), prompt, READ_BACK)
    if not torch.equal(got["logits"], want["logits"]):
        difference = (got["logits"] - want["logits"]).abs().max().item()
        raise TrainingError(
            f"{directory}: want the logits of training, found a difference of {difference:.3g}"
        )
    write_tensors(
        directory / "expected.safetensors", want, {"n_prefill": str(n_prefill(len(prompt)))}
    )
