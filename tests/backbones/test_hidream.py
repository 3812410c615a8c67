"""HiDream-I1: models that their schedulers tell apart, and images of a limited number of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from renoise import ConfigError, Editor, InversionConfig, ModelError
from renoise.backbones.base import Request
from renoise.backbones.hidream import HiDreamBackbone
from tiny_pipelines import BUILDERS

UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(BUILDERS["hidream"]())


@pytest.mark.parametrize(
    ("scheduler", "preset"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), "hidream"),
        (diffusers.UniPCMultistepScheduler(**UNIPC), "hidream"),
        (diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0), "hidream-dev"),
        (diffusers.FlowMatchLCMScheduler(shift=6.0), "hidream-dev"),
        (diffusers.FlowMatchLCMScheduler(shift=3.0), "hidream-fast"),
    ],
)
def test_its_models_are_told_by_their_schedulers(scheduler: Any, preset: str) -> None:
    pipe = BUILDERS["hidream"]()
    pipe.scheduler = scheduler
    assert HiDreamBackbone.preset_for(pipe) == preset


def test_the_full_model_s_sampler_of_several_steps_is_exchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = BUILDERS["hidream"]()
    pipe.scheduler = diffusers.UniPCMultistepScheduler(**UNIPC)
    pipe.save_pretrained(tmp_path / "model")
    with caplog.at_level("INFO", "renoise"):
        editor = Editor.from_pretrained(tmp_path / "model", device="cpu")
    assert "UniPCMultistepScheduler" in caplog.text
    assert type(editor.pipe.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    assert editor.pipe.scheduler.config.shift == 3.0
    assert editor.config("paper").num_steps == 50


def test_a_folder_without_llama_says_what_to_give(tmp_path: Path) -> None:
    pipe = BUILDERS["hidream"]()
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    llama = {part: index.pop(part) and getattr(pipe, part) for part in ("text_encoder_4", "tokenizer_4")}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"no text_encoder_4 and no tokenizer_4, .* give text_encoder_4=\.\.\. and "):
        Editor.from_pretrained(tmp_path, device="cpu")
    loaded = Editor.from_pretrained(tmp_path, device="cpu", **llama)
    latents = start(loaded, 1)
    drawn = ours(loaded, latents, PROMPTS[:1], None, guidance_scale=1.0)
    assert relative(drawn, ours(Editor(pipe), latents, PROMPTS[:1], None, guidance_scale=1.0)) < 1e-4


@pytest.mark.parametrize("size", [(64, 64), (96, 32)])
def test_a_shifted_schedule_is_that_of_the_largest_images(size: tuple[int, int]) -> None:
    pipe = BUILDERS["hidream"]()
    pipe.scheduler = type(pipe.scheduler).from_config(
        pipe.scheduler.config, use_dynamic_shifting=True, max_shift=3.0, base_shift=0.1
    )
    editor = Editor(pipe)
    latents = start(editor, 1, (size[0] // 4, size[1] // 4))
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=1.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-4


def test_images_of_too_many_tokens_are_refused(editor: Editor) -> None:
    channels = editor.model.backbone.latent_channels
    with pytest.raises(ConfigError, match="the image is 160 x 120 pixels and 300 tokens, but the model takes 256"):
        editor.invert(latents=torch.zeros(1, channels, 30, 40))
    long = torch.randn(1, channels, 4, 128, generator=torch.Generator().manual_seed(0))
    assert editor.invert(latents=long, prompt="a", config=InversionConfig(num_steps=1)).latents.shape == long.shape


def test_the_layers_of_each_prompt_are_its_own_row(editor: Editor) -> None:
    condition = editor.model.backbone.condition(Request(["a cat", "a dog", ""], None, 4.0, (64, 64)))
    assert condition.negative is not None
    for embeddings in (condition.positive, condition.negative):
        assert embeddings["layers"].shape == (3, 3, 128, 16)
    layers = condition.of([2, 0]).positive["layers"]
    assert torch.equal(layers, condition.positive["layers"][[2, 0]])
    assert not torch.equal(layers[0], layers[1])
    assert torch.equal(layers[0], condition.negative["layers"][1])
