"""Statistics of z_T: white noise comes out as right, and known maps with their known numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from renoise.evaluation.noise_statistics import LONGEST_LAG, gaussian_kl, noise_statistics, whiteness

NAMES = ["noise_mean", "noise_deviation", "noise_whiteness", "noise_kl"]


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def numbers(noise: Tensor) -> dict[str, float]:
    found = noise_statistics(noise)
    assert all(value is not None for value in found.values())
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 64, 64), (16, 32, 48), (1, 5, 200)])
def test_white_noise_is_right(shape: tuple[int, int, int]) -> None:
    every = [numbers(white(*shape, seed=seed)) for seed in range(20)]
    mean = {name: sum(one[name] for one in every) / 20 for name in NAMES}
    pixels = shape[1] * shape[2]
    assert abs(mean["noise_mean"]) < 4 / math.sqrt(20 * shape[0] * pixels)
    assert mean["noise_deviation"] == pytest.approx(1.0, abs=0.02)
    assert mean["noise_whiteness"] == pytest.approx(1.0, abs=0.04)
    # What the fit of mean and variance to so many values costs.
    assert mean["noise_kl"] == pytest.approx(1 / pixels, rel=0.5)


def test_the_mean_and_the_deviation_do_not_look_at_channels() -> None:
    noise = torch.stack([torch.full((8, 8), value) for value in (3.0, 1.0)])
    found = noise_statistics(noise)
    assert (found["noise_mean"], found["noise_deviation"]) == (2.0, 1.0)
    # A channel without any variance has neither a divergence nor an autocorrelation.
    assert (found["noise_kl"], found["noise_whiteness"]) == (None, None)


@pytest.mark.parametrize(
    ("scale", "shift", "kl"), [(1.0, 0.0, 0.0), (2.0, 0.0, 1.5 - math.log(2)), (1.0, 1.0, 0.5), (0.5, 0.0, 0.31815)]
)
def test_the_divergence_of_known_gaussians(scale: float, shift: float, kl: float) -> None:
    noise = white(3, 16, 16).double()
    flat = noise.flatten(1)
    unit = (noise - flat.mean(dim=1)[:, None, None]) / flat.std(dim=1, correction=0)[:, None, None]
    assert float(gaussian_kl(scale * unit + shift)) == pytest.approx(kl, abs=1e-4)


def test_channels_that_differ_do_not_make_up_for_each_other() -> None:
    noise = white(2, 32, 32) + torch.tensor([1.0, -1.0])[:, None, None]
    assert float(gaussian_kl(noise)) == pytest.approx(0.5, abs=0.1)
    assert abs(numbers(noise)["noise_mean"]) < 0.1


def test_the_whiteness_of_a_checkerboard() -> None:
    """Every autocorrelation is 1 or -1, so that each lag counts as many pairs as it has."""
    board = (torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2.0 - 1.0
    lags = [(dy, dx) for dy in range(4) for dx in range(-3, 4) if (dy, dx) > (0, 0)]
    assert len(lags) == 24
    pairs = [(16 - dy) * (16 - abs(dx)) for dy, dx in lags]
    assert float(whiteness(board[None])) == pytest.approx(math.sqrt(sum(pairs) / 24))


@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (1, 0), (0, LONGEST_LAG), (2, -3), (3, 3)])
def test_a_correlation_at_any_short_lag_is_seen(dy: int, dx: int) -> None:
    noise = white(4, 16, 16)
    mixed = (noise + noise.roll((dy, dx), dims=(1, 2))) / math.sqrt(2)
    assert numbers(noise)["noise_whiteness"] < 1.2
    assert numbers(mixed)["noise_whiteness"] > 1.5
    assert numbers(mixed)["noise_deviation"] == pytest.approx(1.0, abs=0.05)


def test_opposite_correlations_of_channels_do_not_cancel() -> None:
    noise = white(2, 32, 32)
    mixed = noise + torch.tensor([1.0, -1.0])[:, None, None] * noise.roll(1, dims=2)
    assert numbers(mixed)["noise_whiteness"] > 2.0


def test_the_whiteness_has_no_scale() -> None:
    noise = white(4, 16, 16)
    assert float(whiteness(14.6 * noise + 3.0)) == pytest.approx(float(whiteness(noise)), rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 2), (4, 2, 1), (1, 2, 2), (4, 3, 1)])
def test_maps_of_a_few_pixels(shape: tuple[int, int, int]) -> None:
    found = noise_statistics(white(*shape))
    assert list(found) == NAMES
    one = shape[1:] == (1, 1)
    assert (found["noise_whiteness"] is None, found["noise_kl"] is None) == (one, one)
