"""The bundled models: they load without a network, and inversion on them behaves as the paper says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import renoise_mini
from renoise import Editor, InversionConfig, Renoising, images, presets
from renoise.quality import psnr

pytestmark = pytest.mark.slow

HELD_OUT = renoise_mini.path("heldout")
CAPTIONS = [json.loads(line) for line in (HELD_OUT / "captions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def mini() -> Editor:
    return Editor.from_pretrained("mini", device="cpu")


def drawn(pipe: Any, steps: int, prompt: str = "a cat face, noto style, on a white background") -> Any:
    """An image (128, 128, 3) in [0, 1], without guidance."""
    result = pipe(
        prompt,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    return result.images[0]


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_they_are_small_and_safe() -> None:
    total = 0
    for model in ("mini", "mini-turbo", "mini-lcm"):
        files = files_under(renoise_mini.path(model))
        assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}
        total += sum(path.stat().st_size for path in files)
        networks = [path for path in files if path.parent.name in ("unet", "text_encoder")]
        assert sum(path.stat().st_size for path in networks) <= 40 * 10**6
    assert total <= 100 * 10**6


def test_it_is_an_ordinary_pipeline_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    pipe = StableDiffusionPipeline.from_pretrained(renoise_mini.path("mini"), local_files_only=True)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    picture = pipe("a red heart, noto style, on a white background", num_inference_steps=2).images[0]
    assert picture.size == (128, 128)


def test_the_lora_loads_into_the_very_same_pipeline() -> None:
    from diffusers import LCMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(renoise_mini.path("mini"), local_files_only=True)
    before = drawn(pipe, 4)
    pipe.load_lora_weights(renoise_mini.path("mini-lcm"))
    pipe.scheduler = LCMScheduler.from_pretrained(renoise_mini.path("mini-lcm"), subfolder="scheduler")
    by_hand = drawn(pipe, 4)
    assert np.abs(by_hand - before).mean() > 0.01
    editor = Editor.from_pretrained("mini-lcm", device="cpu")
    assert type(editor.pipe.scheduler) is LCMScheduler
    assert np.abs(drawn(editor.pipe, 4) - by_hand).max() < 0.02
    assert InversionConfig.for_pipeline(editor.pipe, "paper") is presets["lcm-lora"]


def test_turbo_is_an_ordinary_pipeline() -> None:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(renoise_mini.path("mini-turbo"), local_files_only=True)
    assert type(pipe.scheduler) is EulerAncestralDiscreteScheduler
    assert pipe.scheduler.config.timestep_spacing == "trailing"
    assert InversionConfig.for_pipeline(pipe, "paper") is presets["sd-turbo"]


@pytest.mark.parametrize("model", ["mini-turbo", "mini-lcm"])
@pytest.mark.parametrize("steps", [1, 4])
def test_few_steps_follow_the_prompt(model: str, steps: int) -> None:
    """Hearts are red and backgrounds are what they are called, after one step and after four."""
    pipe = Editor.from_pretrained(model, device="cpu").pipe
    colours = {"white": (1.0, 1.0, 1.0), "black": (0.11, 0.11, 0.13), "blue": (0.59, 0.78, 0.94)}
    for name, colour in colours.items():
        picture = drawn(pipe, steps, f"a red heart, noto style, on a {name} background")
        assert np.abs(picture[:8, :8].mean((0, 1)) - colour).max() < 0.12, name
        red, green, blue = picture[56:72, 56:72].mean((0, 1))
        assert red > 0.6 > 0.45 > max(green, blue)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="mini"):
        renoise_mini.path("maxi")


def test_the_held_out_pictures_have_captions_and_edits() -> None:
    assert len(CAPTIONS) >= 64
    assert len({entry["file"] for entry in CAPTIONS}) == len(CAPTIONS)
    for entry in CAPTIONS:
        with Image.open(HELD_OUT / entry["file"]) as picture:
            assert (picture.size, picture.mode) == ((128, 128), "RGB"), entry["file"]
        assert f"{entry['style']} style" in entry["caption"] or entry["style"] in entry["caption"]
        assert len(entry["edits"]) == 3
        assert entry["caption"] not in entry["edits"]


def test_renoising_beats_reversing(mini: Editor) -> None:
    entries = CAPTIONS[:4]
    pictures = [HELD_OUT / entry["file"] for entry in entries]
    z_0 = mini.encode(pictures)
    bound = mini.decode(z_0, "pt")
    quality = []
    for iterations in (0, 1, 4):
        config = InversionConfig(num_steps=4, renoising=Renoising(iterations))
        inversion = mini.invert(pictures, [entry["caption"] for entry in entries], config=config)
        quality.append(float(psnr(mini.reconstruct(inversion, "pt"), bound).mean()))
    # the gaps measured on 32 images are several dB (README); anything less is a fault
    assert quality[1] > quality[0] + 2.0
    assert quality[2] > quality[1] + 3.0


def test_an_edit_changes_what_the_prompt_changes(mini: Editor) -> None:
    entry = next(e for e in CAPTIONS if e["background"] == "white")
    config = InversionConfig(num_steps=10, renoising=Renoising(4))
    inversion = mini.invert(HELD_OUT / entry["file"], entry["caption"], config=config)
    target = entry["caption"].replace("white background", "blue background")
    source, edited = (
        mini.edit(inversion, prompt, guidance_scale=scale, output_type="pt")
        for prompt, scale in ((entry["caption"], 1.0), (target, 3.0))
    )
    corner = edited[0, :, :8, :8].mean(dim=(1, 2))
    assert float(source[0, :, :8, :8].mean()) > 0.9
    assert float(corner[2] - corner[0]) > 0.05
    assert torch.isfinite(edited).all()


@pytest.mark.parametrize("model", ["mini-turbo", "mini-lcm"])
def test_few_step_models_are_inverted_and_edited(model: str) -> None:
    editor = Editor.from_pretrained(model, device="cpu")
    entries = [e for e in CAPTIONS if e["background"] == "white"][:2]
    pictures = [HELD_OUT / e["file"] for e in entries]
    inversion = editor.invert(pictures, [e["caption"] for e in entries], config=editor.config("balanced"))
    again = images.to_tensor(editor.reconstruct(inversion))
    bound = editor.decode(editor.encode(pictures), "pt")
    assert float(psnr(again, bound).min()) > 20.0
    reversing = InversionConfig.for_pipeline(editor.pipe, "reverse")
    plain = editor.invert(pictures, [e["caption"] for e in entries], config=reversing)
    assert (
        float(psnr(again, bound).mean()) > float(psnr(images.to_tensor(editor.reconstruct(plain)), bound).mean()) + 3.0
    )
    blue = [e["caption"].replace("white background", "blue background") for e in entries]
    corner = editor.edit(inversion, blue, output_type="pt")[:, :, :8, :8].mean(dim=(2, 3))
    assert float((corner[:, 2] - corner[:, 0]).min()) > 0.15
