"""The number formats: grids, ties, scales, and that forward pass and file hold the same values."""

import pytest
import torch

from training.model.rounding import (
    E2M1_MAX,
    E4M3_MAX,
    Numerics,
    fp4_groups,
    fp8_blocks,
    fp8_groups,
    power_of_two_above,
    to_e2m1,
    to_e4m3,
)


def test_power_of_two_is_exact_at_powers_and_above_between() -> None:
    powers = 2.0 ** torch.arange(-120, 120, dtype=torch.float32)
    assert torch.equal(power_of_two_above(powers), powers)
    assert torch.equal(power_of_two_above(torch.nextafter(powers, powers * 2)), powers * 2)


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        (0.25, 0),
        (0.75, 1),
        (1.25, 1),
        (1.75, 2),
        (2.5, 2),
        (3.5, 4),
        (5, 4),
        (5.01, 6),
        (-0.75, -1),
    ],
)
def test_fp4_ties_go_to_the_even_code(value: float, nearest: float) -> None:
    assert to_e2m1(torch.tensor([value])).item() == nearest


def test_grids_are_kept() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    codes = codes[codes.isfinite()]
    assert torch.equal(to_e4m3(codes), codes)
    grid = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert torch.equal(to_e2m1(grid), grid)


def test_scaled_values_fill_the_range_and_stay_within() -> None:
    x = torch.randn(7, 256, generator=torch.Generator().manual_seed(1)) * 1e3
    for (values, _), largest in ((fp8_groups(x, 128), E4M3_MAX), (fp4_groups(x), E2M1_MAX)):
        top = values.abs().amax(-1)
        assert (top <= largest).all()
        assert (top >= largest / 2 * 0.9).all()


def test_a_zero_group_has_the_scale_of_the_release() -> None:
    _, scale = fp8_groups(torch.zeros(1, 128), 128)
    assert (scale == 2.0**-22).all()


def test_partial_blocks_have_their_own_scales() -> None:
    weight = torch.full((130, 200), 1.0)
    weight[128:] = 64.0
    values, scale = fp8_blocks(weight)
    assert values.shape == (130, 200)
    assert scale.shape == (2, 2)
    assert (scale[1] == 64 * scale[0]).all()


def test_gradients_pass_through_rounding() -> None:
    numerics = Numerics()
    x = torch.randn(4, 192, requires_grad=True)
    gradient = torch.randn(4, 192)
    numerics.row(x, 128).backward(gradient)
    assert x.grad is not None
    assert torch.equal(x.grad, gradient)
