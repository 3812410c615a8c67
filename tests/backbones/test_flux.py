"""Flux: patches of the latent, and its two kinds of guidance."""

from __future__ import annotations

import pytest
from PIL import Image

from parity import start
from renoise import (
    Editor,
    InversionConfig,
    ModelError,
    Renoising,
)
from renoise.errors import IgnoredSettingWarning
from tiny_pipelines import BUILDERS


def test_a_guidance_scale_without_effect_is_said() -> None:
    editor = Editor(BUILDERS["flux-schnell"]())
    with pytest.warns(IgnoredSettingWarning, match=r"guidance_scale=3(\.0)? has no effect; use true_cfg_scale"):
        editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=1, guidance_scale=3.0))


def test_timesteps_are_those_of_the_images_size(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["flux-dev"]())
    told: list[float] = []
    config = InversionConfig(num_steps=3, renoising=Renoising(0))
    inversion = editor.invert(picture, config=config, fit="keep", progress=lambda p: told.append(p.timestep))
    assert editor.timesteps(config, inversion.size) == tuple(reversed(told))
    assert editor.timesteps(config) != tuple(reversed(told))


FEW = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)


def test_cached_blocks_are_refused() -> None:
    from diffusers import FirstBlockCacheConfig

    editor = Editor(BUILDERS["flux-dev"]())
    editor.pipe.transformer.enable_cache(FirstBlockCacheConfig(0.2))
    with pytest.raises(ModelError, match=r"transformer.disable_cache\(\)"):
        editor.invert(latents=start(editor, 1), config=FEW)
    editor.pipe.transformer.disable_cache()
    assert editor.invert(latents=start(editor, 1), config=FEW).num_steps == 2
