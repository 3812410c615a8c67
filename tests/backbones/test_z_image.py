"""Z-Image: a guidance that counts from 0, and Turbo told by its schedule."""

from __future__ import annotations

import warnings

import pytest
import torch
from PIL import Image

from parity import start
from renoise import ConfigError, Editor, InversionConfig, RenoiseWarning
from tiny_pipelines import BUILDERS


def test_presets_are_without_guidance_and_one_pass_a_step(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["z-image-turbo"]())
    config = editor.config()
    assert (config.guidance_scale, config.num_steps) == (0.0, 8)
    inversion = editor.invert(picture, "a lion", fit="keep")
    assert inversion.network_passes == 8
    assert editor.edit_guidance(inversion.config) == 0.0
    assert Editor(BUILDERS["z-image"]()).config("exact").num_steps == 50


def test_edits_of_many_steps_are_guided_by_the_same_weight_as_others() -> None:
    z_image, sd3 = (Editor(BUILDERS[name]()) for name in ("z-image", "sd3"))
    weights = [editor.edit_guidance(editor.config("exact")) for editor in (z_image, sd3)]
    assert weights[0] + 1.0 == weights[1] > 1.0


def test_images_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["z-image"]())
    with pytest.raises(ConfigError, match="the model has positions for 2048 along a side"):
        editor.invert(latents=torch.zeros(1, 16, 2, 514), prompt="a")


def test_a_scale_of_one_is_guidance_and_said_to_be() -> None:
    editor = Editor(BUILDERS["z-image-turbo"]())
    latents = start(editor, 1)
    config = InversionConfig(num_steps=2)
    with pytest.warns(RenoiseWarning, match=r"guidance_scale=1(\.0)? is guidance with this model"):
        guided = editor.invert(latents=latents, prompt="a lion", config=config)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenoiseWarning)
        plain = editor.invert(latents=latents, prompt="a lion", config=InversionConfig(num_steps=2, guidance_scale=0.0))
    assert guided.network_passes == 2 * plain.network_passes
    assert not torch.equal(guided.latents, plain.latents)
