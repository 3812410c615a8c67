"""Kolors: the image-to-image pipeline, negative prompts that its pipelines cannot make, and settings of SDXL's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import KolorsImg2ImgPipeline
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import ConfigError, Editor, InversionConfig
from renoise.backbones.base import Request
from renoise.errors import TruncationWarning
from tiny_pipelines import BUILDERS
from written import with_ip_adapter


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_ip_adapters_are_shown_the_image(guidance_scale: float, tmp_path: Path, picture: Image.Image) -> None:
    pipe = with_ip_adapter("kolors", tmp_path)
    editor = Editor(pipe)
    latents = start(editor, 3)
    expected = theirs(pipe, latents, PROMPTS, ip_adapter_image=picture, guidance_scale=guidance_scale)
    for shown, told in ((picture, False), (picture.rotate(180), True)):
        embeds = editor.embed_images(shown)
        drawn = ours(editor, latents, PROMPTS, None, image_embeds=embeds, guidance_scale=guidance_scale)
        assert (relative(drawn, expected) > 1e-4) is told


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.99])
def test_strength_rounds_as_the_image_to_image_pipeline_does(strength: float) -> None:
    pipe: Any = KolorsImg2ImgPipeline(**BUILDERS["kolors"]().components)
    editor = Editor(pipe)
    made = editor.model.steps(pipe.scheduler, InversionConfig(num_steps=10, strength=strength), (64, 64))
    pipe.scheduler.set_timesteps(10)
    timesteps, _ = pipe.get_timesteps(10, strength, "cpu")
    assert [step.timestep for step in made] == timesteps.tolist()


def test_zeros_for_a_negative_prompt_are_refused_where_the_pipeline_fails_on_them() -> None:
    pipe: Any = BUILDERS["kolors"]()
    pipe.register_to_config(force_zeros_for_empty_prompt=True)
    editor = Editor(pipe)
    latents, config = start(editor, 1), InversionConfig(num_steps=2, guidance_scale=2.0)
    with pytest.raises(AttributeError, match="repeat"):  # of diffusers
        pipe("a lion", num_inference_steps=1, guidance_scale=2.0, height=64, width=64)
    with pytest.raises(ConfigError, match="make no pooled embedding"):
        editor.invert(latents=latents, prompt="a lion", config=config)
    assert editor.invert(latents=latents, prompt="a lion", negative_prompt="", config=config).latents.isfinite().all()


@pytest.mark.parametrize("setting", [{"clip_skip": 1}, {"guidance_rescale": 0.5}])
def test_settings_that_its_pipelines_do_not_take_are_refused(setting: dict[str, Any]) -> None:
    editor = Editor(BUILDERS["kolors"]())
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is not for models"):
        editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=2, guidance_scale=2.0), **setting)


@torch.no_grad()
def test_embeddings_may_come_in_place_of_prompts() -> None:
    pipe: Any = BUILDERS["kolors"]()
    editor = Editor(pipe)
    tokens, _, pooled, _ = pipe.encode_prompt(list(PROMPTS[:2]), do_classifier_free_guidance=False)
    assert editor.model.backbone.text_widths == (tokens.shape[-1], pooled.shape[-1])
    latents, config = start(editor, 2), InversionConfig(num_steps=2)
    given = editor.invert(latents=latents, prompt_embeds=tokens, pooled_prompt_embeds=pooled, config=config)
    read = editor.invert(latents=latents, prompt=list(PROMPTS[:2]), config=config)
    assert relative(given.latents, read.latents) < 1e-6


def test_a_prompt_is_cut_beyond_what_chatglm_reads() -> None:
    """Of 256 tokens, two marks begin a text, and a blank."""
    model = Editor(BUILDERS["kolors"]()).model
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        whole = model.condition(Request(["a" * 253], None, 1.0, (64, 64))).positive["text"]
    with pytest.warns(TruncationWarning, match=r"the 256 tokens .*\(ChatGLMModel\) reads; left out: 'bc'"):
        cut = model.condition(Request(["a" * 253 + "bc"], None, 1.0, (64, 64))).positive["text"]
    assert torch.equal(cut, whole)


def test_the_whole_image_is_told_as_its_size() -> None:
    condition = Editor(BUILDERS["kolors"]()).model.backbone.condition(Request(PROMPTS, None, 1.0, (64, 96)))
    assert condition.positive["sizes"].tolist() == [[64, 96, 0, 0, 64, 96]] * 3
