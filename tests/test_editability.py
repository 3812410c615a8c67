"""The edit losses: their values, their gradients in closed form, and what they do to a prediction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from renoise import ConfigError, EditLosses, editability
from renoise.editability import COARSEST_SIDE, DrawShifts, pair_loss, patch_kl_loss, pyramid_sides, regularise

VECTORS = load_file(Path(__file__).parent / "data" / "vectors" / "losses.safetensors")
SIZES = [(16, 16), (32, 16), (20, 24), (9, 13), (8, 8)]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def shifts_of(value: int, x: Tensor) -> Tensor:
    return torch.full((len(pyramid_sides(min(x.shape[-2:]))), x.shape[0]), value)


def fixed(by_level: Tensor) -> DrawShifts:
    """Draw the same shifts (levels, B) every time."""
    return lambda highest, draws: by_level.expand(draws, *by_level.shape)


def no_shifts(highest: Sequence[int], draws: int) -> Tensor:
    raise AssertionError("a shift was drawn")


@pytest.mark.parametrize("case", [0, 1])
def test_losses_and_gradients_are_the_published_ones(case: int) -> None:
    x, y = VECTORS[f"x{case}"], VECTORS[f"y{case}"]
    for name, (loss, gradient) in {
        "pair": pair_loss(x, shifts_of(1, x)),
        "patch_kl": patch_kl_loss(x, y),
    }.items():
        assert relative(loss, VECTORS[f"{name}{case}"]) < 1e-5
        assert relative(gradient, VECTORS[f"{name}_grad{case}"]) < 1e-5


def autograd_pair(x: Tensor, shifts: Tensor) -> Tensor:
    loss = x.new_zeros(len(x))
    for depth in range(len(shifts)):
        for i in range(len(x)):
            for axis in (-2, -1):
                correlation = (x[i] * x[i].roll(int(shifts[depth, i]), axis)).mean(dim=(-2, -1))
                loss = loss + torch.eye(len(x), dtype=x.dtype)[i] * correlation.square().sum()
        if depth + 1 < len(shifts):
            x = functional.avg_pool2d(x, 2)
    return loss


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 4, 16])
def test_gradients_are_those_of_autograd(size: tuple[int, int], channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, channels, *size, generator=generator, dtype=torch.float64)
    x = x + 0.3
    x.requires_grad_(True)
    depth = len(pyramid_sides(min(size)))
    shifts = torch.randint(1, 4, (depth, 3), generator=generator)
    loss, gradient = pair_loss(x.detach(), shifts)
    expected = autograd_pair(x, shifts)
    assert relative(loss, expected.detach()) < 1e-10
    assert relative(gradient, torch.autograd.grad(expected.sum(), x)[0]) < 1e-10

    height, width = (side // 4 * 4 for side in size)
    patches = [t[..., :height, :width].unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2) for t in (x, y)]
    (m0, m1), (v0, v1) = [p.mean(-1) for p in patches], [p.var(-1) + 1e-6 for p in patches]
    expected = (torch.log(v1 / v0) + (v0 + (m0 - m1) ** 2) / v1 - 1).abs().flatten(1).sum(1)
    loss, gradient = patch_kl_loss(x.detach(), y)
    assert relative(loss, expected.detach()) < 1e-10
    assert relative(gradient, torch.autograd.grad(expected.sum(), x)[0]) < 1e-8


def test_pictures_do_not_see_each_other() -> None:
    x, y = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = EditLosses()
    shifts = torch.tensor([[3, 1, 7], [1, 4, 2]])
    together = regularise(x, y, losses, fixed(shifts))
    for i in range(3):
        alone = regularise(x[i : i + 1], y[i : i + 1], losses, fixed(shifts[:, i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_regularising_lowers_both_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(1, 4, 32, 32, generator=generator)
    x = 0.7 * torch.randn(1, 4, 32, 32, generator=generator) + 0.5 * torch.sin(torch.arange(32) / 5.0)
    better = regularise(
        x,
        reference,
        EditLosses(),
        lambda highest, draws: torch.randint(1, 5, (draws, len(highest), 1), generator=generator),
    )
    assert float(pair_loss(better, shifts_of(1, x))[0]) < 0.9 * float(pair_loss(x, shifts_of(1, x))[0])
    assert float(patch_kl_loss(better, reference)[0]) < 0.9 * float(patch_kl_loss(x, reference)[0])


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_a_setting_means_the_same_at_every_size(side: int) -> None:
    # the share of a constant image that one step takes away does not depend on the latent's size
    x = torch.ones(1, 1, side, side)
    only_pair = EditLosses(pair=10.0, patch_kl=0.0, steps=1, shifts=1)
    moved = float((x - regularise(x, None, only_pair, fixed(shifts_of(1, x)))).mean())
    levels = len(pyramid_sides(side))
    # each level l adds 2 axes * 2 * 1 * 2 / N * pooled back: the same 8 / N for every level of a constant
    assert moved == pytest.approx(10.0 * levels * 8.0 / 4096, rel=1e-5)


@pytest.mark.parametrize("losses", [EditLosses(), EditLosses.released()])
@pytest.mark.parametrize("size", SIZES)
def test_a_cpu_and_other_devices_compute_the_same(
    monkeypatch: pytest.MonkeyPatch, losses: EditLosses, size: tuple[int, int]
) -> None:
    x, y = torch.randn(2, 2, 4, *size, generator=torch.Generator().manual_seed(0))
    shifts = fixed(torch.tensor([[3, 1], [1, 4], [2, 2]][: len(pyramid_sides(min(size)))]))
    kept = x.clone()
    in_numpy = regularise(x, y, losses, shifts)
    assert torch.equal(x, kept)
    monkeypatch.setattr(editability, "_opened", lambda t: (torch, t.clone()))
    torch.testing.assert_close(in_numpy, regularise(x, y, losses, shifts))


def test_the_layout_in_memory_decides_nothing() -> None:
    x, y = torch.randn(2, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    last = x.to(memory_format=torch.channels_last)
    shifts = fixed(shifts_of(2, x))
    assert torch.equal(regularise(last, y, EditLosses(), shifts), regularise(x, y, EditLosses(), shifts))


def test_infinite_predictions_pass_without_a_warning() -> None:
    x = torch.full((1, 4, 16, 16), torch.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not regularise(x, x, EditLosses(), fixed(shifts_of(1, x))).isfinite().any()


def test_weights_of_zero_cost_nothing() -> None:
    x = torch.randn(1, 4, 16, 16)
    assert torch.equal(regularise(x, None, EditLosses(pair=0.0, patch_kl=0.0), no_shifts), x)


def test_the_pyramid_ends_at_eight() -> None:
    assert pyramid_sides(64) == [64, 32, 16, 8]
    assert pyramid_sides(8) == [8]
    assert pyramid_sides(9) == [9, 4]
    assert COARSEST_SIDE == 8


@pytest.mark.parametrize("change", [{"pair": -1.0}, {"patch_kl": float("nan")}, {"steps": 0}, {"shifts": 0}])
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EditLosses(**change)  # type: ignore[arg-type]
