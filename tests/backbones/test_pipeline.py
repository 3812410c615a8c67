"""What the families share: sizes, presets, built-in guidance, and pipelines that are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parity import start
from renoise import ConfigError, Editor, InversionConfig, ModelError, presets
from renoise.defaults import edit_guidance_for
from tiny_pipelines import BUILDERS, NEWER

# PNDM and DPM-Solver, which two of them ship with, combine several steps and are refused.
FAMILIES = [name for name in BUILDERS if name not in ("sd15", "pixart-alpha", *NEWER)]

FLUX = [name for name in FAMILIES if name.startswith("flux")]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_resolution(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    height, width = editor.size
    grid = editor.model.backbone.latent_scale * editor.model.backbone.latent_multiple
    assert height % grid == width % grid == 0


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("sd15-ddim", "sd"),
        ("sd21-v", "sd"),
        ("sd21-zsnr", "sd"),
        ("sd-turbo", "sd-turbo"),
        ("sdxl", "sdxl"),
        ("sdxl-turbo", "sdxl-turbo"),
        ("sd3", "sd3"),
        ("sd35-dynamic", "sd3"),
        ("flux-dev", "flux"),
        ("flux-schnell", "flux-schnell"),
        ("kolors", "kolors"),
        ("pixart-sigma-ddim", "pixart"),
        ("pixart-lcm", "lcm"),
        ("hunyuan-dit", "hunyuan-dit"),
    ],
)
def test_each_family_finds_its_preset(name: str, preset: str) -> None:
    assert InversionConfig.for_pipeline(BUILDERS[name](), "paper") == presets[preset]


@pytest.mark.parametrize("name", ["lcm", "sdxl-lcm"])
def test_an_lcm_is_inverted_at_a_guidance_that_it_was_trained_with(name: str) -> None:
    config = InversionConfig.for_pipeline(BUILDERS[name](), "paper")
    assert config == replace(presets["lcm"], guidance_scale=8.5 if name == "lcm" else 5.0)


def test_families_know_pipelines_that_are_made_from_theirs() -> None:
    for name, preset in [("flux-schnell", "flux-schnell"), ("sdxl", "sdxl"), ("sd3", "sd3")]:
        pipe: Any = BUILDERS[name]()
        pipe.__class__ = type("MyPipeline", (type(pipe),), {})
        assert InversionConfig.for_pipeline(pipe, "paper") == presets[preset]
        assert Editor(pipe).size == Editor(BUILDERS[name]()).size


@pytest.mark.parametrize(
    ("name", "guidance"),
    [
        *[("lcm", 8.5), ("sdxl-lcm", 5.0), ("flux-dev", 3.5), ("sd3", 1.5)],
        # Models that hear no such scale, or were distilled to draw without.
        *[("qwen-image", 1.0), ("hidream", 1.5), ("hidream-dev", 1.0)],
    ],
)
def test_edits_are_guided_as_the_pipeline_would_be(name: str, guidance: float) -> None:
    pipe: Any = BUILDERS[name]()
    assert edit_guidance_for(pipe, InversionConfig.for_pipeline(pipe, "balanced")) == guidance


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in FLUX])
def test_true_guidance_belongs_to_models_with_another_kind_built_in(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    config = InversionConfig(num_steps=2, true_cfg_scale=2.0)
    with pytest.raises(ConfigError, match="use guidance_scale"):
        editor.invert(latents=start(editor, 1), config=config)


@pytest.mark.parametrize(("name", "component"), [("sd3", "vae"), ("flux-dev", "transformer")])
def test_a_missing_component_is_named(name: str, component: str) -> None:
    pipe: Any = BUILDERS[name]()
    setattr(pipe, component, None)
    with pytest.raises(ModelError, match=f"no {component}"):
        Editor(pipe)


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "sdxl"])
def test_networks_that_are_shown_more_than_the_latent_are_refused(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    network = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    network.register_to_config(in_channels=network.config.in_channels + 9)
    with pytest.raises(ModelError, match="fill models"):
        Editor(pipe)
