"""Lists on the command line, and the options of diffusers' pipelines that the command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import Inversion
from renoise.cli.lists import numbers_in

Renoise = Callable[..., Any]
QUICK = ("--renoise", "0", "--no-edit-losses", "--device", "cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> Path:
    """The folder to work in, beside an image."""
    monkeypatch.chdir(tmp_path)
    picture.save("p.png")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "numbers"), [("999,749", (999, 749)), (" 14.6, 3 ,0.4", (14.6, 3, 0.4)), ("5", (5,)), (None, None)]
)
def test_lists_are_read(text: str | None, numbers: tuple[float, ...] | None) -> None:
    assert numbers_in(text) == numbers
    assert list(map(type, numbers_in(text) or ())) == list(map(type, numbers or ()))


@pytest.mark.parametrize("text", ["", "999,", "a,b", "999;749", "[999]"])
def test_other_words_are_refused_as_usage(renoise: Renoise, here: Path, data: Path, text: str) -> None:
    outcome = renoise("invert", "p.png", "-p", "a", "-m", data / "tiny-sd", "--timesteps", text)
    assert outcome.code == 2
    assert "no list of numbers" in outcome.error


def test_lists_and_skipped_layers_go_into_the_inversion(renoise: Renoise, here: Path, data: Path) -> None:
    model = ("-m", data / "tiny-sd", "--sampler", "euler")
    outcome = renoise("invert", "p.png", "-p", "a lion", *model, *QUICK, "--sigmas", "9,2.5,0.5", "--clip-skip", "1")
    assert outcome.code == 0, outcome.error
    config = Inversion.load("p.safetensors").config
    assert (config.sigmas, config.num_steps, config.clip_skip) == ((9, 2.5, 0.5), 3, 1)
    renoise("edit", "p.safetensors", "-m", data / "tiny-sd", "-t", "a cat", "-o", "e.png")
    assert Path("e.png").exists()
    stored = renoise("edit", "p.safetensors", "-m", data / "tiny-sd", "-t", "a cat", "--clip-skip", "2")
    assert "--clip-skip cannot be given with p.safetensors" in stored.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--timesteps", "999,499"), "DDIMScheduler takes no list of timesteps"),
        (("--sampler", "ddpm", "--timesteps", "499,999"), "--timesteps must fall"),
        (("--sampler", "euler", "--sigmas", "900"), "--sigmas of EulerDiscreteScheduler are at most"),
        (("--sampler", "euler", "--sigmas", "9,1", "--timesteps", "99,1"), "--timesteps and --sigmas both"),
        (("--sampler", "euler", "--sigmas", "9,1", "--steps", "3"), "--steps 3 was given beside a list of 2 steps"),
        (("--clip-skip", "99"), "--clip-skip 99 leaves out more layers"),
    ],
)
def test_what_cannot_be_is_one_line(
    renoise: Renoise, here: Path, data: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = renoise("invert", "p.png", "-p", "a", "-m", data / "tiny-sd", *QUICK, *options)
    assert outcome.code == 1
    assert message in outcome.error
    assert not Path("p.safetensors").exists()


def test_rescaled_guidance_changes_a_guided_edit_and_is_remarked_on_elsewhere(
    renoise: Renoise, here: Path, data: Path
) -> None:
    edit = ("edit", "p.png", "-p", "a lion", "-m", data / "tiny-sd", *QUICK, "--steps", "2", "-t", "a cat")
    for name, options in {
        "plain": ("-g", "5"),
        "rescaled": ("-g", "5", "--guidance-rescale", "0.9"),
        "unguided": ("-g", "1"),
        "ignored": ("-g", "1", "--guidance-rescale", "0.9"),
    }.items():
        outcome = renoise(*edit, *options, "-o", f"{name}.png")
        assert outcome.code == 0, outcome.error
        assert ("--guidance-rescale has no effect without guidance" in outcome.err) == (name == "ignored")
    assert Path("plain.png").read_bytes() != Path("rescaled.png").read_bytes()
    assert Path("unguided.png").read_bytes() == Path("ignored.png").read_bytes()
    guided = renoise(
        *("invert", "p.png", "-p", "a", "-m", data / "tiny-sd", *QUICK, "--steps", "2"),
        *("--inversion-guidance", "3", "--guidance-rescale", "0.5"),
    )
    assert guided.code == 0, guided.error
    assert Inversion.load("p.safetensors").config.guidance_rescale == 0.5


def test_prompts_of_other_programs_are_noted_once(renoise: Renoise, here: Path, data: Path) -> None:
    edit = ("edit", "p.png", "-p", "a (lion:1.4)", "-m", data / "tiny-sd", *QUICK, "--steps", "1")
    outcome = renoise(*edit, "-t", "a <lora:x:0.7> cat", "-o", "e.png")
    assert outcome.code == 0, outcome.error
    assert outcome.err.count("(lion:1.4)") == 1
    assert outcome.err.count("is read as plain words") == 2
    assert "--lora name:0.7" in outcome.err
