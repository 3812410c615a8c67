"""Metrics on images whose answers are known."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from renoise.evaluation import metrics


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(0))


def test_l2_and_psnr_are_each_others(pictures: torch.Tensor) -> None:
    other = (pictures + torch.tensor([0.1, 0.2, 0.0]).view(3, 1, 1, 1)).double()
    l2 = metrics.l2(pictures, other.float())
    torch.testing.assert_close(l2, torch.tensor([0.01, 0.04, 0.0]), atol=1e-6, rtol=1e-4)
    assert float(metrics.psnr(pictures, other.float())[0]) == pytest.approx(20.0, abs=1e-3)
    assert math.isinf(float(metrics.psnr(pictures, pictures)[0]))


def test_ssim_is_one_for_equal_images_and_falls_with_noise(pictures: torch.Tensor) -> None:
    torch.testing.assert_close(metrics.ssim(pictures, pictures), torch.ones(3))
    noisy = pictures + 0.2 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    assert float(metrics.ssim(pictures, noisy).max()) < 0.95
    assert metrics.ssim(pictures[:1], noisy[:1]).shape == (1,)


def test_ms_ssim_is_not_available_for_small_images(pictures: torch.Tensor) -> None:
    assert metrics.ms_ssim(pictures, pictures) is None
    large = torch.rand(2, 3, 176, 180, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(metrics.ms_ssim(large, large), torch.ones(2))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A torchvision that names the weights it would ask for, and the empty folder where it would look for them."""
    models = ModuleType("torchvision.models")
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url="https://example.org/models/alexnet-owt-7be5be79.pth"))
    models.AlexNet_Weights = weights  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(metrics, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    metrics._lpips_network.cache_clear()
    yield tmp_path / "checkpoints"
    metrics._lpips_network.cache_clear()


def test_lpips_is_not_available_without_the_very_weights(pictures: torch.Tensor, torchvision: Path) -> None:
    (torchvision / "alexnet-owt-4df8aa71.pth").write_bytes(b"an older torchvision's")
    assert metrics.lpips(pictures, pictures) is None


def test_lpips_is_not_available_without_torchvision(pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    metrics._lpips_network.cache_clear()
    assert metrics.lpips(pictures, pictures) is None
    metrics._lpips_network.cache_clear()


def test_lpips_is_fed_images_from_minus_one_to_one(pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def network(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.extend((a, b))
        return (a - b).abs().mean()

    monkeypatch.setattr(metrics, "_lpips_network", lambda: network)
    values = metrics.lpips(pictures, 1.0 - pictures)
    assert values is not None
    assert values.shape == (3,)
    torch.testing.assert_close(seen[0], 2.0 * pictures[:1] - 1.0)
    torch.testing.assert_close(seen[1], 1.0 - 2.0 * pictures[:1])
