"""Requests are refused before the model is waited for, each with a sentence that names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from renoise import ConfigError
from renoise.web.forms import Source, read_edit, read_source
from renoise.web.limits import Limits

LIMITS = Limits(prompt_length=20, targets=2, steps=50)


def test_values_are_taken_as_they_are(drawing: Image.Image) -> None:
    values = {"prompt": " a cat ", "preset": "fast", "steps": 8.0, "iterations": None, "seed": 3, "fit": "pad"}
    source = read_source(drawing, None, "cat.png", values, LIMITS)
    assert (source.prompt, source.preset, source.steps, source.iterations) == ("a cat", "fast", 8, None)
    assert (source.seed, source.fit) == (3, "pad")
    asked = {"targets": "a dog\n\n  a fox ", "strength": 1, "keep": "nothing", "guidance": 2, "negative_prompt": ""}
    request = read_edit(source, None, asked, LIMITS)
    assert request.targets == ("a dog", "a fox")
    assert (request.strength, request.keep, request.guidance, request.negative_prompt) == (1.0, "nothing", 2.0, None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"prompt": "x" * 21}, "prompt must have at most 20 characters, not 21"),
        ({"prompt": 7}, "prompt must be text"),
        ({"prompt": "a\0b"}, "prompt must hold no character"),
        ({"prompt": "\ud800"}, "prompt must hold no character"),
        ({"preset": "best"}, "preset 'best' is unknown"),
        ({"preset": ["edit"]}, "preset .* is unknown"),
        ({"steps": 0}, "num_steps must be a whole number of at least 1"),
        ({"steps": 51}, "num_steps must be a whole number of at most 50"),
        ({"steps": 2.5}, "num_steps must be a whole number"),
        ({"steps": "4; rm"}, "num_steps must be a whole number"),
        ({"steps": True}, "num_steps must be a whole number"),
        ({"iterations": -1}, "iterations"),
        ({"seed": 2**70}, "seed"),
        ({"seed": float("nan")}, "seed"),
        ({"fit": "squeeze"}, "fit 'squeeze' is unknown"),
        ({"fit": {"a": 1}}, "fit .* is unknown"),
        ({"fit": {}}, "fit {} is unknown"),
        ({"fit": 0}, "fit 0 is unknown"),
    ],
)
def test_a_wrong_value_of_a_source_is_named(drawing: Image.Image, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_source(drawing, None, "cat.png", {"prompt": "a cat", **wrong}, LIMITS)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"targets": ""}, "there is no target prompt"),
        ({"targets": None}, "there is no target prompt"),
        ({"targets": " \n "}, "there is no target prompt"),
        ({"targets": 5}, "targets must be text"),
        ({"targets": ["a", 5]}, "targets must be text"),
        ({"targets": "a\nb\nc"}, "there are 3 target prompts, at most 2"),
        ({"targets": "x" * 21}, "targets must have at most 20 characters, not 21"),
        ({"strength": 1.5}, "strength must be in"),
        ({"strength": "much"}, "strength must be a number"),
        ({"keep": "all"}, "keep 'all' is unknown"),
        ({"guidance": -1}, "guidance_scale must be in"),
        ({"guidance": float("inf")}, "guidance_scale must be in"),
        ({"guidance": 101}, "guidance_scale must be in"),
        ({"negative_prompt": "x" * 21}, "negative_prompt must have at most 20 characters, not 21"),
    ],
)
def test_a_wrong_value_of_an_edit_is_named(source: Source, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_edit(source, None, {"targets": "a dog", **wrong}, LIMITS)


@pytest.mark.parametrize(("field", "number"), [("", None), ("  ", None), ("7", 7), (" 12 ", 12), ("0", 0)])
def test_a_field_of_digits_is_a_number(drawing: Image.Image, field: str, number: int | None) -> None:
    assert read_source(drawing, None, "cat.png", {"iterations": field}, LIMITS).iterations == number


@pytest.mark.parametrize("field", ["-1", "1.5", "1e3", "\u0663", "9" * 400, "four"])
def test_another_field_is_not(drawing: Image.Image, field: str) -> None:
    with pytest.raises(ConfigError, match="iterations must be a whole number"):
        read_source(drawing, None, "cat.png", {"iterations": field}, LIMITS)


def test_without_an_image_nothing_can_be_done() -> None:
    with pytest.raises(ConfigError, match="there is no image; drop one, or pick an example"):
        read_source(None, None, "", {"prompt": "a cat"}, LIMITS)


def test_the_name_of_a_file_steers_no_terminal(drawing: Image.Image) -> None:
    assert read_source(drawing, None, "a\x1b[31m.png", {}, LIMITS).name == "a\\x1b[31m.png"


def test_a_long_name_of_a_file_stays_whole(drawing: Image.Image) -> None:
    """The equal command line names the file as its owner has it."""
    name = f"{'x' * 200}.png"
    assert read_source(drawing, None, name, {}, LIMITS).name == name
