"""The diffusion families outside Stable Diffusion: samplers, what noise alone draws again, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from quick import slow_but
from renoise import ConfigError, Editor, InversionConfig, ModelError
from tiny_pipelines import BUILDERS

NAMES = ["kolors", "pixart-alpha-ddim", "pixart-sigma-ddim", "hunyuan-dit", "hunyuan-dit-1.1"]
TRANSFORMERS = [name for name in NAMES if name != "kolors"]
# How far the last layer of a network is turned down whose predictions hardly depend on the latent, as trained ones do.
CALM = 0.02


@pytest.mark.parametrize("scheduler", ["DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete"])
@pytest.mark.parametrize("name", ["pixart-alpha-ddim", "hunyuan-dit"])
def test_other_samplers(name: str, scheduler: str) -> None:
    editor = Editor(BUILDERS[name]()).with_scheduler(f"{scheduler}Scheduler")
    latents = start(editor, 1)
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=4.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=4.0), expected) < 1e-4


@pytest.mark.parametrize("variant", ["paper", "exact"])
@pytest.mark.parametrize("name", slow_but(["pixart-alpha-ddim"], NAMES))
@torch.no_grad()
def test_the_noise_alone_draws_the_image_again_where_the_network_is_calm(name: str, variant: str) -> None:
    pipe: Any = BUILDERS[name]()
    last = pipe.unet.conv_out if hasattr(pipe, "unet") else pipe.transformer.proj_out
    for parameter in last.parameters():
        parameter.mul_(CALM)
    editor = Editor(pipe)
    z_0 = 0.5 * start(editor, 2)
    # Edit losses compare the prediction with noise, which is far from it here.
    config = replace(InversionConfig.for_pipeline(pipe, variant), edit_losses=None)
    inversion = editor.invert(latents=z_0, prompt=list(PROMPTS[:2]), config=config)
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_latents_that_cannot_be_patched_are_refused(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="multiples of 2"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 8, 7))


@pytest.mark.parametrize("name", NAMES)
def test_networks_that_are_shown_more_than_the_latent_are_refused(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    network = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    network.register_to_config(in_channels=network.config.in_channels + 5)
    with pytest.raises(ModelError, match="the network takes 9 channels"):
        Editor(pipe)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_embeddings_and_missing_encoders_are_told_without_advice_that_does_not_help(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    with pytest.raises(ConfigError, match="prompt_embeds is not for models of this family, whose pipelines make more"):
        editor.invert(latents=start(editor, 1), prompt_embeds=torch.zeros(1, 8, 40))
    pipe.text_encoder = None
    with pytest.raises(ConfigError, match=r"no text_encoder to read a prompt with; load its text encoders$"):
        editor.invert(latents=start(editor, 1), prompt="a cat")
