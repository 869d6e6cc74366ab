"""The forward pass against the official implementation: every layer on its exact input.

Limits are those of `precis verify` (include/precis/verify.h).  End to end they would be loose: one
flipped rounding grows, and no implementation agrees further than that.
"""

import pytest
import torch

from training.checkpoint.expected import attention_input
from training.model.config import SPARSE, WINDOW
from training.model.indexer import select_best
from training.tests.golden import (
    N_LAYERS,
    NAMES,
    golden,
    ratio_of,
    relative_median,
    share_differing,
)

LAYER_RELATIVE = 1e-5
ROWS_DIFFER = 0.02
TOPK_OVERLAP = 0.995

LAYERS = [(name, layer) for name in NAMES for layer in range(N_LAYERS)]
COMPRESSING = [(name, layer) for name, layer in LAYERS if ratio_of(name, layer) != WINDOW]
SPARSE_ONES = [(name, layer) for name, layer in LAYERS if ratio_of(name, layer) == SPARSE]


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@torch.no_grad()
def test_layer_equals_official(name: str, layer: int) -> None:
    case = golden(name)
    out = case.run_layer(layer)
    n, expected = case.n_tokens, case.expected
    assert relative_median(out.attn_out[:n], expected[f"attn_out.{layer}"]) <= LAYER_RELATIVE
    assert relative_median(out.ffn_out[:n], expected[f"ffn_out.{layer}"]) <= LAYER_RELATIVE
    assert relative_median(out.streams[:n], expected[f"streams.{layer}"]) <= LAYER_RELATIVE


@pytest.mark.parametrize(("name", "layer"), COMPRESSING)
@torch.no_grad()
def test_compressed_rows_equal_official(name: str, layer: int) -> None:
    case = golden(name)
    x = attention_input(case.network.block(layer), case.streams_into(layer), case.numerics)
    want = case.expected[f"rows.{layer}"]
    got = case.network.block(layer).attn.compressed_rows(x, case.layout, case.numerics)
    assert share_differing(got[: len(want)], want) <= ROWS_DIFFER


@pytest.mark.parametrize(("name", "layer"), SPARSE_ONES)
@torch.no_grad()
def test_index_keys_and_selection_equal_official(name: str, layer: int) -> None:
    case = golden(name)
    attention, numerics = case.network.block(layer).attn, case.numerics
    x = attention_input(case.network.block(layer), case.streams_into(layer), case.numerics)
    want = case.expected[f"index_rows.{layer}"]
    keys = attention.indexer.keys(x, case.layout, numerics)
    assert share_differing(keys[: len(want)], want) <= ROWS_DIFFER

    scores = attention.index_scores(x, case.layout, numerics)
    n_most = case.network.config.index_topk
    chosen = select_best(scores, case.layout.sparse_visible, case.n_best, n_most)
    official = case.expected[f"topk.{layer}"].long()
    rows, columns = (official >= 0).nonzero(as_tuple=True)
    assert chosen[0, rows, official[rows, columns]].float().mean().item() >= TOPK_OVERLAP
    assert chosen[0, : case.n_tokens].sum().item() == len(rows)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_head_and_mtp_block_equal_official(name: str) -> None:
    case = golden(name)
    network, numerics = case.network, case.numerics
    streams = case.padded(case.expected[f"streams.{N_LAYERS - 1}"])
    logits = network.logits(streams, network.matrix(numerics), numerics)
    assert relative_median(logits[: case.n_tokens], case.expected["logits"]) <= LAYER_RELATIVE

    want = case.expected["mtp.logits"]
    next_ids = case.token_ids.roll(-1)
    mtp = network.mtp_blocks()[0]
    out = mtp(streams, network.embedded(next_ids, numerics), next_ids, case.layout, numerics)
    got = mtp.logits(out.streams, network.matrix(numerics), numerics)
    assert relative_median(got[: len(want)], want) <= LAYER_RELATIVE
