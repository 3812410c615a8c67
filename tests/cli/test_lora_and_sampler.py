"""`--lora` and `--sampler`: they reach the model, and what is wrong with them is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from renoise import Inversion
from written import folder_of, lora_for

Renoise = Callable[..., Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny pipelines are written."""
    return tmp_path_factory.mktemp("tiny")


def test_a_picture_is_inverted_with_both_and_drawn_again_with_the_lora(renoise: Renoise, tiny: Path) -> None:
    model = ["--model", folder_of("sd15-ddim", tiny), "--device", "cpu"]
    lora = ["--lora", lora_for("sd15-ddim", tiny)]
    done = renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", *model, *lora, "--sampler", "lcm")
    assert done.code == 0, done.err
    assert Inversion.load("cat.safetensors").scheduler["class"] == "LCMScheduler"
    assert renoise("reconstruct", "cat.safetensors", *model, *lora).code == 0
    assert renoise("edit", "cat.safetensors", "--to", "a dog", *model, *lora).code == 0
    assert "as it is now" in renoise("reconstruct", "cat.safetensors", *model).error


def test_another_strength_is_another_model(renoise: Renoise, tiny: Path) -> None:
    model = ["--model", folder_of("sd15-ddim", tiny), "--device", "cpu"]
    lora = str(lora_for("sd15-ddim", tiny))
    strong = ["--lora", f"{lora}:0.7", "--lora", f"{lora}:-0.2"]
    assert renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", *model, *strong).code == 0
    assert renoise("reconstruct", "cat.safetensors", *model, *strong).code == 0
    other = renoise("reconstruct", "cat.safetensors", *model, *strong[:3], f"{lora}:-0.3")
    assert "as it is now" in other.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sampler", "dpm"], "sampler 'dpm' is unknown; use one of ddim"),
        (["--sampler", "flow-euler"], "two kinds of models"),
        (["--lora", "nowhere"], "LoRA 'nowhere' is not known"),
        (["--lora", "cat.png"], "not a .safetensors"),
    ],
)
def test_what_is_wrong_is_one_line(renoise: Renoise, tiny: Path, options: list[str], words: str) -> None:
    model = ["--model", folder_of("sd15-ddim", tiny), "--device", "cpu"]
    done = renoise("edit", "cat.png", "-p", "a cat", "--to", "a dog", *model, *options)
    assert done.code == 1
    assert words in done.error


def test_a_spacing_reaches_the_schedule(renoise: Renoise, tiny: Path) -> None:
    model = ["--model", folder_of("sdxl", tiny), "--device", "cpu"]
    invert = ["invert", "cat.png", "-p", "a cat", "--steps", "2", "--renoise", "0", *model, "--sampler", "euler"]
    for spacing in ("trailing", "leading"):
        done = renoise(*invert, "--spacing", spacing, "-o", "cat.safetensors")
        assert done.code == 0, done.err
        assert Inversion.load("cat.safetensors").scheduler["config"]["timestep_spacing"] == spacing


@pytest.mark.parametrize(("name", "sampler"), [("sd3", "flow-euler"), ("sdxl", "lcm")])
def test_a_spacing_without_effect_is_one_line(renoise: Renoise, tiny: Path, name: str, sampler: str) -> None:
    model = ["--model", folder_of(name, tiny), "--device", "cpu", "--sampler", sampler]
    done = renoise("edit", "cat.png", "-p", "a cat", "--to", "a dog", *model, "--spacing", "trailing")
    assert done.code == 1
    assert "are spaced in one way alone" in done.error
    assert renoise("edit", "cat.png", "-p", "a", "--to", "b", *model, "--spacing", "even").code == 2


def test_reconstructing_takes_no_spacing(renoise: Renoise, inverted: Path) -> None:
    assert renoise("edit", inverted, "--to", "a dog", "--spacing", "trailing").code == 2


def test_reconstructing_takes_no_sampler(renoise: Renoise, inverted: Path) -> None:
    assert renoise("reconstruct", inverted, "--sampler", "lcm").code == 2


def test_a_lokr_is_given_like_any_lora(renoise: Renoise, tiny: Path, tmp_path: Path) -> None:
    layer = "lycoris_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{layer}.lokr_w1": torch.ones(4, 4), f"{layer}.lokr_w2": torch.ones(8, 8)}, tmp_path / "k.safetensors")
    model = ["--model", folder_of("sd15-ddim", tiny), "--device", "cpu"]
    lokr = ["--lora", f"{tmp_path / 'k.safetensors'}:0.7"]
    assert renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", *model, *lokr).code == 0
    assert renoise("edit", "cat.safetensors", "--to", "a dog", *model, *lokr).code == 0
    assert "as it is now" in renoise("reconstruct", "cat.safetensors", *model, lokr[0], lokr[1][:-4]).error
    assert "as it is now" in renoise("reconstruct", "cat.safetensors", *model).error
