"""What an inversion file is said to hold."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from renoise import Editor, Inversion, InversionConfig, Renoising
from written import folder_of

Renoise = Callable[..., Any]


def test_info(renoise: Renoise, inverted: Path) -> None:
    shown = renoise("info", inverted)
    assert (shown.code, shown.err) == (0, "")
    for fact in ('"a tree"', "128 x 128, from 80 x 60", "2 of 2", "DDIMScheduler", "largest"):
        assert fact in shown.out
    document = renoise("info", inverted, "--json").json
    assert document["prompt"] == "a tree"
    assert document["network_passes"] == 6
    assert len(document["residuals"]) == 2
    assert document["latent_deviation"] == pytest.approx(float(Inversion.load(inverted).latents.std()))
    assert document["file_size"] == inverted.stat().st_size


def test_info_tells_of_edit_losses_and_noise_correction(on_tiny: Renoise, renoise: Renoise) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a", "--noise-correction", "0.5", "--quiet").code == 0
    told = renoise("info", "cat.safetensors").out
    assert "pair 10, patch KL 0.05" in told
    assert "50% of the way" in told
    assert renoise("info", "cat.safetensors", "--json").json["noise_correction"]["amount"] == 0.5


def test_info_of_a_flow_model_has_no_prediction(renoise: Renoise, tmp_path: Path) -> None:
    model = ["--model", folder_of("sd3", tmp_path), "--device", "cpu"]
    assert renoise("invert", "cat.png", "-p", "a", *model, "--preset", "sd3.5-large-turbo").code == 0
    told = renoise("info", "cat.safetensors").out
    assert "sd3, flow matching (fingerprint" in told
    assert "4 of 4" in told
    assert renoise("info", "cat.safetensors", "--json").json["prediction"] is None


@pytest.mark.parametrize(
    ("fit", "words"),
    [("crop", "fit               crop"), ("pad", "pad, in 128 x 102 of it"), ("keep", "keep, in 100 x 80 of it")],
)
def test_info_tells_of_the_fit(on_tiny: Renoise, renoise: Renoise, fit: str, words: str) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a", "--fit", fit).code == 0
    assert words in renoise("info", "cat.safetensors").out
    document = renoise("info", "cat.safetensors", "--json").json
    assert document["fit"] == fit
    assert document["original_size"] == [[80, 100]]
    assert document["box"] == {"crop": [None], "pad": [[13, 0, 102, 128]], "keep": [[0, 0, 80, 100]]}[fit]


def test_info_on_latents(renoise: Renoise, editor: Editor) -> None:
    config = InversionConfig(num_steps=1, renoising=Renoising(0))
    editor.invert(latents=editor.encode("cat.png"), prompt="a", config=config).save("cat.safetensors")
    assert "none, latents came" in renoise("info", "cat.safetensors").out


def test_a_long_prompt_is_told_whole_in_one_line(on_tiny: Renoise, renoise: Renoise) -> None:
    prompt = "a [red]cat[/red] :cat: " + "on a mat " * 40
    assert on_tiny("invert", "cat.png", "-p", prompt, "--steps", "1", "--renoise", "0", "--quiet").code == 0
    assert f'\nprompt            "{prompt}"\n' in renoise("info", "cat.safetensors").out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_whatever_the_file_is_info_says_one_line(renoise: Renoise, inverted: Path, folder: Path) -> None:
    whole = inverted.read_bytes()
    files: dict[str, bytes] = {
        "empty": b"",
        "cut": whole[:-1],
        "short": whole[:20],
        "longer": whole + b"x",
        "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
        "endless": struct.pack("<Q", 2**63) + whole[8:],
        "typed": whole.replace(b'\\"batched\\": false', b'\\"batched\\": 10000'),
        "png": b"\x89PNG" + whole[4:],
        "image": (folder / "cat.png").read_bytes(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("zero").symlink_to("/dev/zero")
    Path("folder").mkdir()
    for name in (*files, "pipe", "loop", "zero", "folder", "nothing", "x" * 5000):
        for options in ((), ("--json",)):
            shown = renoise("info", name, *options)
            assert (shown.code, shown.out) == (1, ""), name
            assert shown.error
            assert len(shown.error) < 1300
            assert "unexpected" not in shown.error


def test_info_tells_of_embeddings_and_no_prompt_is_made_of_them(renoise: Renoise, editor: Editor) -> None:
    width = editor.model.backbone.text_widths
    assert width is not None
    embeds = torch.randn(1, 77, width[0] or 0, generator=torch.Generator().manual_seed(0))
    config = InversionConfig(num_steps=2, renoising=Renoising(0), clip_skip=1)
    editor.invert("cat.png", config=config, prompt_embeds=embeds).save("e.safetensors")
    told = renoise("info", "e.safetensors").out
    assert "prompt            none: embeddings came in its place" in told
    assert "negative prompt   the model's own" in told
    assert "clip skip         1" in told
    document = renoise("info", "e.safetensors", "--json").json
    assert (document["prompt_embeds"], document["negative_prompt_embeds"]) == (True, False)
    assert (document["timesteps"], document["clip_skip"]) == (None, 1)
    # It is refused before a model is looked for.
    refused = renoise("edit", "e.safetensors", "--to", "b", "--guidance", "2", "--negative-source", "--model", "none")
    assert refused.code == 2
    assert "--negative-source has no prompt to take; give --negative-prompt" in refused.err
