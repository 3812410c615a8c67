"""PixArt: what the network is told of the image, prompts as the pipeline cleans them, and its samplers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError, presets
from renoise.backbones.base import Request
from renoise.errors import RenoiseWarning
from tiny_pipelines import BUILDERS, lora


def test_the_large_models_of_alpha_alone_are_told_the_size() -> None:
    told = {"resolution", "aspect_ratio"}
    positives = {
        name: Editor(BUILDERS[name]()).model.backbone.condition(Request(PROMPTS, None, 1.0, (64, 96))).positive
        for name in ("pixart-alpha-ddim", "pixart-sigma-ddim")
    }
    assert not told & positives["pixart-sigma-ddim"].keys()
    assert positives["pixart-alpha-ddim"]["resolution"].tolist() == [[64.0, 96.0]] * 3
    torch.testing.assert_close(positives["pixart-alpha-ddim"]["aspect_ratio"], torch.full((3, 1), 64 / 96))


def test_prompts_are_read_as_the_pipelines_own_call_reads_them() -> None:
    """Its call asks for clean prompts, which takes libraries that need not be there; else they are in small letters."""
    editor = Editor(BUILDERS["pixart-alpha-ddim"]())
    prompts, latents = ["  A Lion at https://example.org <b>here</b>"], start(editor, 1)
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=4.5, negative_prompt=["A  BLUR "])
    assert relative(ours(editor, latents, prompts, ["A  BLUR "], guidance_scale=4.5), expected) < 1e-4


def test_nothing_is_logged_of_libraries_that_clean_prompts(caplog: pytest.LogCaptureFixture) -> None:
    editor = Editor(BUILDERS["pixart-alpha-ddim"]())
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        editor.invert(latents=start(editor, 1), prompt="a lion", config=InversionConfig(num_steps=2))
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert not [record for record in caplog.records if "clean_caption" in record.getMessage()]


def test_weights_in_a_prompt_are_told_without_advice_that_is_refused() -> None:
    editor = Editor(BUILDERS["pixart-sigma-ddim"]())
    with pytest.warns(RenoiseWarning, match="takes no weights: write plain words"):
        editor.invert(latents=start(editor, 1), prompt="a (red:1.4) lion", config=InversionConfig(num_steps=2))


def test_dpm_solver_is_exchanged_with_a_remark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    BUILDERS["pixart-alpha"]().save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="renoise"):
        editor = Editor.from_pretrained(tmp_path, device="cpu")
    assert "DPMSolverMultistepScheduler cannot be inverted step by step" in caplog.text
    own: Any = BUILDERS["pixart-alpha-ddim"]()
    config = InversionConfig(num_steps=20)
    assert editor.timesteps(config) == Editor(own).timesteps(config)
    assert InversionConfig.for_pipeline(editor.pipe, "paper") == presets["pixart"]
    latents = start(editor, 3)
    expected = theirs(editor.pipe, latents, PROMPTS, guidance_scale=4.5)
    assert relative(ours(editor, latents, PROMPTS, None, guidance_scale=4.5), expected) < 1e-4


def test_an_lcm_takes_the_settings_of_lcms() -> None:
    pipe = BUILDERS["pixart-lcm"]()
    config = InversionConfig.for_pipeline(pipe, "paper")
    assert config == presets["lcm"]
    editor = Editor(pipe)
    z_0 = 0.5 * start(editor, 1)
    inversion = editor.invert(latents=z_0, prompt="a lion")
    assert inversion.config.num_steps == 4
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3


@pytest.mark.parametrize("name", ["pixart-alpha", "hunyuan-dit"])
def test_a_lora_is_refused_because_the_pipeline_loads_none(name: str, tmp_path: Path) -> None:
    pipe = BUILDERS[name]()
    pipe.save_pretrained(tmp_path / "model")
    lora(BUILDERS["sd3-no-t5"](), tmp_path / "lora")
    with pytest.raises(ModelError, match=f"a {type(pipe).__name__} takes no LoRA") as caught:
        Editor.from_pretrained(tmp_path / "model", device="cpu", lora=tmp_path / "lora")
    assert "\n" not in str(caught.value)
