"""CogView 4: a network that is told whole timesteps, sizes of the image, and texts of several lengths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import CogView4ControlPipeline, CogView4Transformer2DModel
from diffusers.pipelines.cogview4.pipeline_cogview4 import calculate_shift

from parity import NUM_STEPS, PROMPTS, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError
from renoise.backbones.base import Request
from renoise.backbones.cogview4 import ByRoot
from renoise.walks import denoise_steps
from tiny_pipelines import BUILDERS

LONG = "a long prompt of many more letters than the other one has"


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(BUILDERS["cogview4"]())


def drawn(editor: Editor, latents: torch.Tensor, config: InversionConfig, request: Request) -> torch.Tensor:
    """Return what our denoising ends with under a configuration of its schedule."""
    steps, z = editor.model.steps(editor.pipe.scheduler, config, request.size), latents
    with torch.no_grad():
        network = editor.model.network(editor.model.backbone.condition(request))
        for walked in denoise_steps(steps, network, z, torch.zeros(len(steps), *z.shape)):
            z = walked.latents
    return z


@pytest.mark.parametrize("tokens", [16, 256, 1000, 4096])
def test_the_shift_is_the_pipelines(tokens: int) -> None:
    line: dict[str, Any] = {"base_image_seq_len": 300, "base_shift": 0.2, "max_shift": 0.9}
    assert ByRoot().mu({}, tokens, 4) == pytest.approx(calculate_shift(tokens))
    assert ByRoot().mu(line, tokens, 4) == pytest.approx(calculate_shift(tokens, 300, 0.2, 0.9))


@pytest.mark.parametrize("num_steps", [1, 7, 50, 1000])
def test_the_network_is_told_whole_timesteps_that_the_shift_leaves(editor: Editor, num_steps: int) -> None:
    steps = editor.model.steps(editor.pipe.scheduler, InversionConfig(num_steps=num_steps), (1024, 1024))
    assert len(steps) == num_steps
    assert all(step.timestep == int(step.timestep) for step in steps)
    assert all(step.sigma > step.timestep / 1000 for step in steps[1:])


@pytest.mark.parametrize(
    "custom", [{"sigmas": [1.0, 0.7, 0.2]}, {"timesteps": [990, 600, 200]}], ids=["sigmas", "timesteps"]
)
def test_a_list_of_steps_is_the_pipelines(editor: Editor, custom: dict[str, Any]) -> None:
    latents = start(editor, 1)
    request = Request(PROMPTS[:1], None, 1.0, editor.model.pixels(latents))
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=1.0, **custom)
    assert relative(drawn(editor, latents, InversionConfig(num_steps=NUM_STEPS, **custom), request), expected) < 1e-4
    plain = drawn(editor, latents, InversionConfig(num_steps=NUM_STEPS), request)
    assert relative(plain, expected) > 1e-3


@pytest.mark.parametrize("negative", ["", LONG])
def test_prompts_and_negative_prompts_may_differ_in_length(editor: Editor, negative: str) -> None:
    latents, config = start(editor, 2), InversionConfig(num_steps=NUM_STEPS)
    prompts, negatives = ["a cat", "a much longer prompt about a dog"], [negative] * 2
    request = Request(prompts, negatives, 4.0, editor.model.pixels(latents))
    condition = editor.model.backbone.condition(request)
    assert condition.negative is not None
    assert condition.negative["text"].shape != condition.positive["text"].shape
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=4.0, negative_prompt=negatives)
    assert relative(drawn(editor, latents, config, request), expected) < 1e-4


def test_embeddings_take_the_place_of_prompts(editor: Editor) -> None:
    latents, config = start(editor, 1), InversionConfig(num_steps=2, guidance_scale=3.0)
    embeds, _ = editor.pipe.encode_prompt(LONG, do_classifier_free_guidance=False)
    one = editor.invert(latents=latents, prompt=LONG, config=config)
    two = editor.invert(latents=latents, prompt_embeds=embeds, config=config)
    assert relative(two.latents, one.latents) < 1e-6


def test_a_network_that_is_shown_a_second_image_is_refused(editor: Editor) -> None:
    pipe = BUILDERS["cogview4"]()
    config = {**editor.pipe.transformer.config, "in_channels": 32}
    pipe.transformer = CogView4Transformer2DModel.from_config(config)
    with pytest.raises(ModelError, match="32 channels but latents have 16"):
        Editor(pipe)
    with pytest.raises(ModelError, match="CogView4ControlPipeline is not supported"):
        Editor(CogView4ControlPipeline(**pipe.components))
