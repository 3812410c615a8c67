"""What the values of options may be: the others are refused in one line, before any work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from renoise.cli import values

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]

EDIT = ("edit", "cat.png", "-p", "a", "--to", "b")
# Options of each command that take a path, beside what the command needs.
PATHS = [
    (*EDIT, "-o"),
    (*EDIT, "--output"),
    (*EDIT, "--compare"),
    (*EDIT, "--source"),
    ("invert", "cat.png", "-p", "a", "-o"),
    ("invert", "cat.png", "-p", "a", "--compare"),
    ("reconstruct", "cat.safetensors", "-o"),
    ("reconstruct", "cat.safetensors", "--source"),
    ("reconstruct", "cat.safetensors", "--compare"),
    ("evaluate", "table2", "--out"),
    ("evaluate", "editing", "--clip"),
    ("evaluate", "editing", "--dino"),
    ("edit",),
    ("invert",),
    ("reconstruct",),
    ("info",),
]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("path", ["", " ", "\t", "a\0b.png", "\0"])
@pytest.mark.parametrize("arguments", PATHS, ids=" ".join)
def test_a_path_is_a_name(renoise: Renoise, files: Files, arguments: tuple[str, ...], path: str) -> None:
    done = renoise(*arguments, path)
    assert done.code == 2
    assert "is an empty name" in done.error or "holds a NUL character" in done.error
    assert files() == {"cat.png"}


WHOLE = [
    *((*EDIT, option) for option in ("--steps", "--renoise", "--seed")),
    *(("evaluate", "table2", option) for option in ("--limit", "-n", "--batch", "--seed")),
]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "value",
    ["4.0", "1e1", "4_0", " 4", "0x4", "\uff14", "-1", "", "four", "4,0", str(10**30), "9" * 5000, "nan", "\x1b[31m"],
)
@pytest.mark.parametrize("arguments", WHOLE, ids=" ".join)
def test_a_whole_number_is_digits(renoise: Renoise, files: Files, arguments: tuple[str, ...], value: str) -> None:
    done = renoise(*arguments, value)
    assert done.code == 2
    assert "is not a whole number from " in done.error
    assert len(done.error) < 300
    assert files() == {"cat.png"}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e400", "1e13", "-1", "", "1,5", "0x1", "1_0", " 1", "\uff11", "a\0"]
)
@pytest.mark.parametrize(
    "option", ["--guidance", "-g", "--true-cfg", "--inversion-guidance", "--strength", "--depth", "--noise-correction"]
)
def test_a_number_is_finite(renoise: Renoise, files: Files, option: str, value: str) -> None:
    done = renoise(*EDIT, option, value)
    assert done.code == 2
    assert "is not a number " in done.error
    assert files() == {"cat.png"}


@pytest.mark.parametrize(("value", "number"), [("1", 1.0), ("1.", 1.0), (".5", 0.5), ("1e-3", 0.001), ("+0.25", 0.25)])
def test_numbers_as_people_write_them(value: str, number: float) -> None:
    assert values.decimal(0.0, 1.0)["parser"](value) == number


@pytest.mark.parametrize(("value", "number"), [("4", 4), ("+4", 4), ("007", 7), (8, 8)])
def test_whole_numbers_as_people_write_them(value: object, number: int) -> None:
    assert values.whole(1, 10)["parser"](value) == number


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("option", ["--to", "-p", "--negative-prompt", "--model", "--device", "--sampler"])
@pytest.mark.parametrize("value", ["caf\udce9", "\ud800", "a\0b"])
def test_bytes_that_are_no_text_are_refused(renoise: Renoise, files: Files, option: str, value: str) -> None:
    done = renoise("edit", "cat.png", option, value)
    assert done.code == 2
    assert "is not valid in this terminal's encoding" in done.error or "holds a NUL character" in done.error
    assert files() == {"cat.png"}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "options",
    [
        "--steps 4 --steps 5",
        "-p c",
        "--seed 1 --seed 1",
        "-o a.png --output b.png",
        "--json --json",
        "--edit-losses --no-edit-losses",
        "--model a -m b",
        "--guidance 1 -g 2",
    ],
)
def test_an_option_is_given_once(renoise: Renoise, files: Files, options: str) -> None:
    done = renoise(*EDIT, *options.split())
    assert done.code == 2
    assert "is given more than once; give it once" in done.error
    assert files() == {"cat.png"}


def test_tildes_are_expanded_as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert values.path("~/a.png") == Path("/home/someone/a.png")
    assert values.place("~/out/") == "/home/someone/out/"
    assert values.place("./~/a.png") == "./~/a.png"
    assert values.place("~no-such-user/a") == "~no-such-user/a"


@pytest.mark.skipif(os.name != "posix", reason="other systems have names of text alone")
def test_files_whose_names_are_no_text_are_edited(on_tiny: Renoise, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    os.rename("cat.png", f"{name}.png")
    done = on_tiny("invert", f"{name}.png", "-p", "a", "--renoise", "0")
    assert (done.code, done.out.splitlines()[0]) == (0, r"wrote caf\udce9.safetensors")
    assert (folder / f"{name}.safetensors").exists()
    document = on_tiny("edit", f"{name}.png", "-p", "a", "--to", "b", "--renoise", "0", "--json").json
    assert document["source"] == f"{name}.png"
    assert (folder / f"{name}.edited.png").exists()


def test_what_is_quoted_is_short_and_escaped() -> None:
    with pytest.raises(typer.BadParameter) as caught:
        values.whole(1, 10)["parser"]("\x1b[31m" * 1000)
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()
