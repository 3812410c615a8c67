"""`--lora` and `--sampler`: they reach the model, and what is wrong with them is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from renoise import Inversion
from tiny_pipelines.adapters import LORA_FILE
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
    assert renoise(*invert, "--spacing", "karras", "-o", "cat.safetensors").code == 0
    assert Inversion.load("cat.safetensors").scheduler["config"]["use_karras_sigmas"] is True


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


LIGHTNING = "sdxl_lightning_4step_lora.safetensors"


@pytest.fixture
def lightning(tiny: Path) -> list[str | Path]:
    """A tiny SDXL, and LoRA weights for it in a file of the working directory with Lightning's name."""
    save_file(load_file(lora_for("sdxl", tiny) / LORA_FILE), LIGHTNING)
    return ["--model", folder_of("sdxl", tiny), "--device", "cpu", "--lora", LIGHTNING]


def test_a_loras_name_chooses_sampler_and_steps_with_a_line(renoise: Renoise, lightning: list[str | Path]) -> None:
    done = renoise("invert", "cat.png", "-p", "a cat", *lightning, "-o", "cat.safetensors")
    assert done.code == 0, done.err
    (line,) = (line for line in done.err.splitlines() if "assuming" in line)
    assert "assuming the preset sdxl-lightning-4 (4 steps, euler, trailing spacing) of the LoRA" in line
    assert "if it is wrong, give --sampler and --steps, or --preset" in line
    inversion = Inversion.load("cat.safetensors")
    assert inversion.config.num_steps == 4
    assert inversion.scheduler["class"] == "EulerDiscreteScheduler"
    assert inversion.scheduler["config"]["timestep_spacing"] == "trailing"
    told = renoise("info", "cat.safetensors").out
    assert "4 of 4" in told
    # What was kept brings its sampler and its steps, so that nothing is assumed again.
    for again in (["edit", "cat.safetensors", "--to", "a dog"], ["reconstruct", "cat.safetensors"]):
        drawn = renoise(*again, *lightning)
        assert drawn.code == 0
        assert "assuming" not in drawn.err
    # Drawing what was kept for edits takes no network pass, and is not said to.
    assert "; 0 network passes; " in f"; {drawn.out.splitlines()[-1]}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preset", "dmd2-4"], ("LCMScheduler", 4)),
        (["--preset", "sdxl-lightning-8:reverse"], ("EulerDiscreteScheduler", 8)),
        (["--preset", "reverse"], ("EulerDiscreteScheduler", 4)),
        (["--steps", "3"], ("EulerDiscreteScheduler", 3)),
        (["--sampler", "ddim", "--steps", "5"], ("DDIMScheduler", 5)),
    ],
)
def test_options_go_before_the_loras_name(
    renoise: Renoise, lightning: list[str | Path], options: list[str], expected: tuple[str, int]
) -> None:
    done = renoise("invert", "cat.png", "-p", "a cat", *lightning, *options, "-o", "cat.safetensors")
    assert done.code == 0, done.err
    inversion = Inversion.load("cat.safetensors")
    assert (inversion.scheduler["class"], inversion.config.num_steps) == expected
    # What was assumed is said, and not where a preset is named.
    assert ("assuming" in done.err) == (options[:1] != ["--preset"] or options[1] == "reverse")


def test_a_named_preset_without_a_lora(renoise: Renoise, tiny: Path) -> None:
    model = ["--model", folder_of("sdxl", tiny), "--device", "cpu"]
    edit = ["edit", "cat.png", "-p", "a cat", "--to", "a dog", *model, "-o", "dog.png"]
    done = renoise(*edit, "--preset", "dmd2-4", "--json")
    assert done.code == 0, done.err
    assert (done.json["steps"], done.json["timesteps"]) == (4, [999, 749, 499, 249])
    told = renoise(*edit, "--preset", "sdxl-lightning-4", "--sampler", "ddim")
    assert "DDIMScheduler is taken, as asked for" in told.err
    wrong = renoise(*edit, "--preset", "flux-hyper-8")
    assert wrong.code == 1
    assert "the preset flux-hyper-8 is for models of" in wrong.error


@pytest.mark.parametrize("preset", ["sdxl-lightning-4:best", "sdxl-lightning-4:"])
def test_an_unknown_way_to_invert_is_wrong_usage_that_names_those_there_are(renoise: Renoise, preset: str) -> None:
    done = renoise("edit", "cat.png", "-p", "a cat", "--to", "a dog", "--preset", preset)
    assert done.code == 2
    told = done.err.replace("\n", " ")
    remedy = "give sdxl-lightning-4 alone, or with one of these after its colon: edit, fast"
    assert f"'{preset}' is unknown; {remedy}" in told


@pytest.mark.parametrize("preset", ["sdxl-lightning-5", "sdxl-lightning-5:best", ":edit", ""])
def test_an_unknown_preset_is_wrong_usage_that_names_near_ones(renoise: Renoise, preset: str) -> None:
    done = renoise("edit", "cat.png", "-p", "a cat", "--to", "a dog", "--preset", preset)
    assert done.code == 2
    told = done.err.replace("\n", " ")
    assert "is unknown; for a model of a few steps use its name, such as sdxl-lightning-" in told
    assert "for others use one of edit, fast" in told
