"""Lumina 2: guided predictions of restored length, and a schedule that its pipeline shifts by the channels."""

from __future__ import annotations

import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from renoise import ConfigError, Editor
from tiny_pipelines import BUILDERS


@pytest.mark.parametrize("size", [(16, 24), (8, 8)])
def test_a_shifted_schedule_is_the_pipelines(size: tuple[int, int]) -> None:
    pipe = BUILDERS["lumina2"]()
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, use_dynamic_shifting=True)
    editor = Editor(pipe)
    latents = start(editor, 1, size)
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=1.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-5


def test_guidance_without_restored_length_is_another() -> None:
    editor = Editor(BUILDERS["lumina2"]())
    latents = start(editor, 1)
    plain = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=4.0, cfg_normalization=False)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=4.0), plain) > 1e-2


def test_images_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["lumina2"]())
    most = 2 * min(editor.pipe.transformer.config.axes_lens[1:])
    with pytest.raises(ConfigError, match="positions"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 2, most + 2))
