"""Every kind of block is one graph for the compiler: a GPU run does not fall back to pieces."""

import pytest
import torch

from training.model.layout import make_layout
from training.model.rounding import Numerics
from training.tests.small_run import small_network

WINDOW_HASHED, SPARSE, HEAVY = 0, 2, 3  # layers of the small network


@pytest.mark.parametrize("layer", [WINDOW_HASHED, SPARSE, HEAVY])
def test_block_traces_whole(layer: int) -> None:
    network, numerics = small_network(), Numerics(dtype=torch.bfloat16)
    layout = make_layout(network.config, 2, 128, torch.device("cpu"))
    token_ids = torch.arange(256)
    streams = network.first_streams(token_ids, numerics).detach()
    block = network.block(layer)
    traced = torch.compile(block.forward, backend="eager", fullgraph=True, dynamic=False)
    n_best = torch.tensor(4)
    want = block(streams, token_ids, layout, numerics, n_best).streams
    got = traced(streams, token_ids, layout, numerics, n_best).streams
    assert torch.equal(got, want)
    got.float().square().sum().backward()
    missing = [name for name, one in block.named_parameters() if one.grad is None]
    assert all("indexer" in name for name in missing), missing  # it learns from its own loss
