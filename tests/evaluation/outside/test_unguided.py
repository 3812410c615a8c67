"""Negative-prompt and null-prompt inversion: what guidance does when images are drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, Renoising
from renoise.errors import IgnoredSettingWarning
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import NegativePrompt, NullPrompt
from tiny_pipelines import BUILDERS

MakeEditor = Callable[..., Editor]
PROMPTS = ["a lion", "a cat"]
TARGETS = ["a tiger", "a dog"]
PLAIN = InversionConfig(num_steps=4, renoising=Renoising(0))
TURBO = "EulerAncestralDiscreteScheduler"


@pytest.mark.parametrize("scheduler", [None, TURBO])
@pytest.mark.parametrize("guidance_scale", [7.5, 2.0, 1.0])
def test_a_negative_source_prompt_undoes_guidance(
    make_editor: MakeEditor, z_0: Tensor, guidance_scale: float, scheduler: str | None
) -> None:
    editor = make_editor(scheduler=scheduler)
    ours = NegativePrompt(PLAIN, guidance_scale).invert(editor, z_0, PROMPTS)
    plain = ReNoise(PLAIN).invert(editor, z_0, PROMPTS)
    assert torch.equal(ours.latents, plain.latents)
    torch.testing.assert_close(ours.draw(None, None).pixels, plain.draw(None, None).pixels, atol=1e-4, rtol=0)
    guided = ReNoise(replace(PLAIN, guidance_scale=1.0)).invert(editor, z_0, PROMPTS).draw(None, 7.5).pixels
    assert not torch.allclose(guided, plain.draw(None, None).pixels, atol=1e-3)


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
def test_an_empty_prompt_is_both_source_and_negative(make_editor: MakeEditor, z_0: Tensor, model: str) -> None:
    editor = make_editor(model, "DDIMScheduler")
    ours = NullPrompt(PLAIN).invert(editor, z_0, PROMPTS)
    plain = ReNoise(PLAIN).invert(editor, z_0, ["", ""])
    assert torch.equal(ours.latents, plain.latents)
    assert torch.equal(ours.draw(None, None).pixels, plain.draw(None, None).pixels)
    # guidance towards an empty prompt from an empty prompt is none
    torch.testing.assert_close(ours.draw(["", ""], None).pixels, plain.draw(None, None).pixels, atol=1e-4, rtol=0)
    same = NegativePrompt(PLAIN).invert(editor, z_0, ["", ""])
    assert torch.equal(ours.draw(TARGETS, None).pixels, same.draw(TARGETS, None).pixels)


def test_nothing_is_remarked_on_where_nothing_is_guided(make_editor: MakeEditor, z_0: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", IgnoredSettingWarning)
        NullPrompt(PLAIN).invert(make_editor(), z_0, PROMPTS).draw(None, None)
        NegativePrompt(PLAIN, 1.0).invert(make_editor(), z_0, PROMPTS).draw(TARGETS, None)


@pytest.mark.parametrize("kind", [NegativePrompt, NullPrompt])
def test_renoising_goes_with_both(
    make_editor: MakeEditor, z_0: Tensor, kind: type[NegativePrompt] | type[NullPrompt]
) -> None:
    config = replace(PLAIN, renoising=Renoising(2))
    method = kind(config)
    assert (method.iterations, kind().iterations) == (2, 0)
    prompts = PROMPTS if kind is NegativePrompt else ["", ""]
    noised = method.invert(make_editor(), z_0, PROMPTS)
    assert torch.equal(noised.latents, ReNoise(config).invert(make_editor(), z_0, prompts).latents)
    assert noised.passes == 12


def test_negative_prompts_mean_nothing_to_a_network_that_is_told_its_guidance(z_0: Tensor) -> None:
    editor = Editor(BUILDERS["lcm"]()).with_scheduler("DDIMScheduler")
    with pytest.raises(ConfigError, match="takes the guidance scale as an input"):
        NegativePrompt(PLAIN).invert(editor, z_0, PROMPTS)
    assert NegativePrompt(PLAIN, 1.0).invert(editor, z_0, PROMPTS).passes == 4


@pytest.mark.parametrize("kind", [NegativePrompt, NullPrompt])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": replace(PLAIN, guidance_scale=2.0)}, "guidance_scale=2; leave that at 1"),
        ({"config": "sd"}, "must be an InversionConfig, not str"),
        ({"config": None}, "must be an InversionConfig"),
        ({"guidance_scale": -1.0}, "guidance_scale must be"),
        ({"guidance_scale": "7.5"}, "guidance_scale must be"),
        ({"guidance_scale": float("inf")}, "guidance_scale must be"),
    ],
)
def test_impossible_settings_of_prompts(
    kind: type[NegativePrompt] | type[NullPrompt], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**change)
