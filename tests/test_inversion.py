"""The result of an inversion: what it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from renoise import Editor, InversionConfig, Renoising

MakeEditor = Callable[..., Editor]
FEW = InversionConfig(num_steps=3, renoising=Renoising(2))


@pytest.fixture
def pictures(picture: Image.Image) -> list[Image.Image]:
    return [picture, picture.rotate(90, expand=True), Image.new("RGB", (30, 30), "teal")]


def test_what_an_inversion_holds(make_editor: MakeEditor, pictures: list[Image.Image]) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    config = InversionConfig(num_steps=4, renoising=Renoising(3), renoising_low_noise=Renoising(1), seed=7)
    inversion = editor.invert(pictures, "a lion", config=config, keep_trajectory=True, keep_residual_history=True)
    channels, side = editor.pipe.vae.config.latent_channels, editor.size[0] // editor.pipe.vae_scale_factor
    assert inversion.latents.shape == (3, channels, side, side)
    assert inversion.noise is not None
    assert inversion.noise.shape == (4, 3, channels, side, side)
    assert inversion.residuals.shape == (4, 3)
    assert inversion.residual_history is not None
    assert inversion.residual_history.shape == (4, 4, 3)
    # the last timestep of four is below 250 and has two passes: the rest of its row is padding
    assert torch.isnan(inversion.residual_history[3, 2:]).all()
    assert torch.equal(inversion.residual_history[3, 1], inversion.residuals[3])
    assert torch.equal(inversion.residual_history[0, 3], inversion.residuals[0])
    assert inversion.trajectory is not None
    assert torch.equal(inversion.trajectory[-1], inversion.latents)
    assert torch.equal(inversion.trajectory[0], editor.encode(pictures))
    assert (inversion.seed, inversion.batch_size, inversion.num_steps) == (7, 3, 4)
    assert inversion.latents.dtype == inversion.noise.dtype == inversion.residuals.dtype == torch.float32
    plain = editor.invert(pictures[0], "a lion", config=config)
    assert plain.trajectory is None
    assert plain.residual_history is None


def test_deterministic_samplers_have_no_noise(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=FEW)
    assert inversion.noise is None
