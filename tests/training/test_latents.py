"""Latents are normalised without changing an image, and are drawn with their captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from training.latents import Pool, fold


@pytest.fixture
def vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 4}
        return AutoencoderKL(**shape).double().eval()


@torch.no_grad()
def test_folding_normalises_latents_and_keeps_images(vae: AutoencoderKL) -> None:
    picture = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    before = vae.encode(picture).latent_dist
    image = vae.decode(before.mode()).sample
    mean, deviation = before.mode().mean((0, 2, 3)), before.mode().std((0, 2, 3))
    assert mean.abs().min() > 1e-3
    fold(vae, mean, deviation)
    after = vae.encode(picture).latent_dist
    scaled = after.mode() * vae.config.scaling_factor
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(4).double())
    torch.testing.assert_close(vae.decode(after.mode()).sample, image)
    # The noise of a sampled latent is scaled as the latent is.
    scale = (deviation * vae.config.scaling_factor).view(1, -1, 1, 1)
    torch.testing.assert_close(after.std * scale, before.std)


@torch.no_grad()
def test_statistics_of_normalised_latents_fold_to_nothing(vae: AutoencoderKL) -> None:
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    fold(vae, torch.zeros(4).double(), torch.full((4,), 1 / vae.config.scaling_factor).double())
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name])


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Twenty latents that have their number for a value; caption 2n belongs to latent n, and 2n + 1 to its edit."""
    np.save(tmp_path / "latents.npy", np.tile(np.arange(20, dtype=np.float16).reshape(-1, 1, 1, 1), (1, 4, 16, 16)))
    np.save(tmp_path / "captions.npy", np.arange(40, dtype=np.int32).reshape(20, 2))
    np.save(tmp_path / "ids.npy", np.tile(np.arange(40, dtype=np.int16)[:, None], (1, 32)))
    return Pool.load(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(("edited", "changed"), [(0.0, 0), (0.25, 4), (1.0, 16)])
def test_a_pool_draws_latents_with_their_captions(pool: Pool, edited: float, changed: int) -> None:
    latents, ids = pool.draw(16, torch.Generator().manual_seed(0), edited)
    assert latents.shape == (16, 4, 16, 16)
    assert latents.dtype == torch.float32
    assert ids.shape == (16, 32)
    numbers = 2 * latents[:, 0, 0, 0].long()
    numbers[:changed] += 1
    assert torch.equal(ids[:, 0], numbers)
    assert len(set(numbers.tolist())) > 5
    # What is drawn is not written back.
    assert torch.equal(pool.captions, torch.arange(40, dtype=torch.int32).view(20, 2))
