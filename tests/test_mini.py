"""The bundled model: loads without a network, and inversion on it behaves as the paper says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import renoise_mini
from renoise import Editor, InversionConfig, Renoising, images

HELD_OUT = renoise_mini.path("heldout")
CAPTIONS = [json.loads(line) for line in (HELD_OUT / "captions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def mini() -> Editor:
    return Editor.from_pretrained("mini", device="cpu")


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_it_is_small_and_safe() -> None:
    files = files_under(renoise_mini.path("mini"))
    assert sum(path.stat().st_size for path in files) <= 40 * 2**20
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}


def test_it_is_an_ordinary_pipeline_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    pipe = StableDiffusionPipeline.from_pretrained(renoise_mini.path("mini"), local_files_only=True)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    picture = pipe("a red heart, noto style, on a white background", num_inference_steps=2).images[0]
    assert picture.size == (128, 128)


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
        quality.append(float(images.psnr(mini.reconstruct(inversion, "pt"), bound).mean()))
    # the gaps measured on 32 pictures are several dB (README); anything less is a fault
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
