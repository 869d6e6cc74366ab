"""What the tests against the official numbers share: checkpoints, layouts, differences."""

import dataclasses
import functools
import json
import pathlib

import torch
from torch import Tensor

from training.checkpoint.load import load_network
from training.checkpoint.released import read_tensors
from training.model.layout import Layout, make_layout
from training.model.network import BlockOut, Network
from training.model.rounding import Numerics

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
NAMES = ("flash_bf16", "flash_fp8", "pro_fp8")
N_LAYERS = 5


@dataclasses.dataclass(frozen=True)
class Golden:
    """A checkpoint, its expected values, and a layout of its tokens padded to whole blocks."""

    network: Network
    numerics: Numerics
    expected: dict[str, Tensor]
    layout: Layout
    n_best: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.expected["input_ids"])

    @property
    def token_ids(self) -> Tensor:
        return self.padded(self.expected["input_ids"].long())

    def padded(self, x: Tensor) -> Tensor:
        """Later tokens change nothing before them."""
        n_missing = self.layout.n_tokens - x.shape[0]
        return torch.cat((x, x[:1].expand(n_missing, *x.shape[1:])))

    def run_layer(self, layer: int) -> BlockOut:
        """The layer on its expected input."""
        return self.network.block(layer)(
            self.streams_into(layer), self.token_ids, self.layout, self.numerics, self.n_best
        )

    def streams_into(self, layer: int) -> Tensor:
        if layer == 0:
            return self.network.first_streams(self.token_ids, self.numerics)
        return self.padded(self.expected[f"streams.{layer - 1}"])


def ratio_of(name: str, layer: int) -> int:
    fields = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    return int(fields["compress_ratios"][layer])


@functools.cache
def golden(name: str) -> Golden:
    directory = GOLDEN / name
    network = load_network(directory)
    expected = read_tensors(directory / "expected.safetensors")
    is_quantized = "quantization_config" in json.loads((directory / "config.json").read_text())
    n_tokens = len(expected["input_ids"])
    layout = make_layout(network.config, 1, n_tokens + -n_tokens % 128, torch.device("cpu"))
    # The file's values are the quantised ones, so weights need no rounding.
    numerics = Numerics(activations=is_quantized, weights=False)
    return Golden(network, numerics, expected, layout, torch.tensor(network.config.index_topk))


def relative_median(got: Tensor, want: Tensor) -> float:
    """‖got − want‖ / ‖want‖ of a token, in the median."""
    difference = (got - want).flatten(1).norm(dim=1) / want.flatten(1).norm(dim=1)
    return difference.median().item()


def share_differing(got: Tensor, want: Tensor) -> float:
    """Share of elements off by more than 10⁻⁵ of themselves, or of their row's root mean square."""
    allowed = 1e-5 * torch.maximum(want.abs(), want.square().mean(-1, keepdim=True).sqrt())
    return ((got - want).abs() > allowed).float().mean().item()
