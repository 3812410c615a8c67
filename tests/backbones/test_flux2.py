"""FLUX.2: latents with statistics for each place of a patch, and models that are guided in three ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig
from renoise.errors import IgnoredSettingWarning
from tiny_pipelines import BUILDERS
from tiny_pipelines.parts import enliven


@pytest.mark.parametrize(("name", "num_steps"), [("flux2-dev", 50), ("flux2-klein", 4), ("flux2-klein-base", 50)])
def test_a_distilled_model_takes_few_steps(name: str, num_steps: int) -> None:
    assert Editor(BUILDERS[name]()).config("paper").num_steps == num_steps


def test_latents_are_standardised_by_the_batch_norm(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["flux2-klein"]())
    vae, pixels = editor.pipe.vae, editor.pipe.image_processor.preprocess(editor.fit(picture, fit="keep"))
    with torch.no_grad():
        expected = editor.pipe._encode_vae_image(pixels, torch.Generator())
    torch.testing.assert_close(editor.pipe._patchify_latents(editor.encode(picture, fit="keep")), expected)
    vae.bn.running_mean += 1.0
    assert relative(editor.pipe._patchify_latents(editor.encode(picture, fit="keep")), expected) > 0.1


def test_guidance_of_a_distilled_model_is_said_to_have_no_effect() -> None:
    editor = Editor(BUILDERS["flux2-klein"]())
    latents = start(editor, 1)
    with pytest.warns(IgnoredSettingWarning, match="takes no guidance"):
        told = editor.invert(latents=latents, prompt="a", config=InversionConfig(num_steps=2, guidance_scale=4.0))
    plain = editor.invert(latents=latents, prompt="a", config=InversionConfig(num_steps=2))
    assert torch.equal(told.latents, plain.latents)


@pytest.mark.parametrize(("name", "embeds"), [("flux2-dev", False), ("flux2-klein", True), ("flux2-klein-base", True)])
def test_a_pipeline_guides_as_its_class_does_whatever_its_network_takes(name: str, embeds: bool) -> None:
    pipe: Any = BUILDERS[name]()
    network = type(pipe.transformer).from_config(pipe.transformer.config, guidance_embeds=embeds)
    pipe.transformer = enliven(network, {"proj_out": 0.2})
    editor = Editor(pipe)
    latents = start(editor, 1)
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=4.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=4.0), expected) < 1e-4
    assert editor.model.backbone.guides(4.0, 1.0) is (name == "flux2-klein-base")


def test_a_scale_that_no_network_hears_is_said_to_have_no_effect() -> None:
    pipe: Any = BUILDERS["flux2-dev"]()
    network = type(pipe.transformer).from_config(pipe.transformer.config, guidance_embeds=False)
    pipe.transformer = enliven(network, {"proj_out": 0.2})
    editor = Editor(pipe)
    with pytest.warns(IgnoredSettingWarning, match="takes no guidance"):
        editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=1, guidance_scale=4.0))
    assert editor.edit_guidance() == 1.0


def test_the_schedule_follows_the_number_of_steps() -> None:
    editor = Editor(BUILDERS["flux2-dev"]())
    few, many = (editor.model.steps(editor.pipe.scheduler, InversionConfig(num_steps=n), (512, 512)) for n in (10, 20))
    assert few[5].sigma != pytest.approx(many[10].sigma, rel=1e-3)


def test_embeddings_take_the_place_of_prompts() -> None:
    editor = Editor(BUILDERS["flux2-klein-base"]())
    latents = start(editor, 1)
    embeds = editor.pipe.encode_prompt("a lion", device="cpu")[0]
    config = InversionConfig(num_steps=2, guidance_scale=3.0)
    one = editor.invert(latents=latents, prompt="a lion", config=config)
    two = editor.invert(latents=latents, prompt_embeds=embeds, config=config)
    assert relative(two.latents, one.latents) < 1e-6
