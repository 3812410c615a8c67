"""Qwen-Image: guidance by `true_cfg_scale`, and schedules and latents of 2.1's own."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError, SchedulerError
from renoise.errors import IgnoredSettingWarning, RenoiseWarning
from tiny_pipelines import BUILDERS


def test_a_guidance_scale_without_effect_is_said() -> None:
    editor = Editor(BUILDERS["qwen-image"]())
    with pytest.warns(IgnoredSettingWarning, match="use true_cfg_scale"):
        editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=2, guidance_scale=4.0))


def test_true_guidance_keeps_the_length_of_each_token() -> None:
    editor = Editor(BUILDERS["qwen-image"]())
    latents, negatives = start(editor, 1), ["blurry"]
    expected = theirs(editor.pipe, latents, PROMPTS[:1], true_cfg_scale=6.0, negative_prompt=list(negatives))
    drawn = ours(editor, latents, PROMPTS[:1], negatives, guidance_scale=1.0, true_cfg_scale=6.0)
    assert relative(drawn, expected) < 1e-4
    type(editor.model.backbone).restores = False  # type: ignore[attr-defined]
    try:
        plain = ours(editor, latents, PROMPTS[:1], negatives, guidance_scale=1.0, true_cfg_scale=6.0)
    finally:
        type(editor.model.backbone).restores = True  # type: ignore[attr-defined]
    assert relative(plain, expected) > 1e-3


def test_a_cache_of_the_text_gives_the_same_up_to_rounding() -> None:
    editor = Editor(BUILDERS["qwen-image-2.1"]())
    latents = start(editor, 2)
    cached = theirs(editor.pipe, latents, PROMPTS[:2], use_kv_cache=True)
    assert relative(ours(editor, latents, PROMPTS[:2], None, guidance_scale=1.0), cached) < 1e-4


def test_a_schedule_of_the_pipelines_own_is_taken_for_its_length() -> None:
    pipe: Any = BUILDERS["qwen-image-2.1"]()
    pipe.register_to_config(sample_sigmas=[1.0, 0.8, 0.3])
    editor = Editor(pipe)
    latents = start(editor, 1)
    expected = theirs(pipe, latents, PROMPTS[:1], use_kv_cache=False)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-4
    three, four = (editor.timesteps(InversionConfig(num_steps=n), (256, 256)) for n in (3, 4))
    plain = Editor(BUILDERS["qwen-image-2.1"]())
    assert three != plain.timesteps(InversionConfig(num_steps=3), (256, 256))
    assert four == plain.timesteps(InversionConfig(num_steps=4), (256, 256))


def test_networks_that_fill_in_or_follow_images_are_refused() -> None:
    pipe: Any = BUILDERS["qwen-image"]()
    pipe.transformer.register_to_config(in_channels=128)
    with pytest.raises(ModelError, match="takes 128 channels"):
        Editor(pipe)


def test_an_image_is_opaque_to_an_autoencoder_of_four_channels(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["qwen-image-2.1"]())
    latents = editor.encode(picture, fit="keep")
    assert latents.shape[1] == 8
    assert editor.decode(latents)[0].mode == "RGB"
    assert torch.isfinite(latents).all()


def test_an_edit_with_the_default_guidance_is_not_said_to_have_none(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["qwen-image"]())
    inversion = editor.invert(picture, config=editor.config("paper", num_steps=3), fit="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenoiseWarning)
        editor.edit(inversion, "a dog")


def test_a_schedule_of_one_step_is_refused_in_one_line(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["qwen-image"]())
    config = editor.config("paper", num_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's about a quotient of zeros
        with pytest.raises(SchedulerError, match="no finite steps with num_steps=1; use more steps"):
            editor.invert(picture, config=config, fit="keep")
