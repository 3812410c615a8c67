"""The options: their values are the library's, their groups read well, and shells complete them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest

from renoise import images
from renoise.cli.edit_options import KeepName
from renoise.cli.options import EditDataName, FitMode, Precision, Settings
from renoise.cli.preset_options import Preset
from renoise.config import VARIANTS
from renoise.edit_rules import KEEP
from renoise.edit_settings import EDIT_DATA
from renoise.loading.pipelines import DTYPES

Renoise = Callable[..., Any]
COMMANDS = ("edit", "invert", "reconstruct", "info", "evaluate", "models")


def test_values_are_the_librarys() -> None:
    assert get_args(FitMode) == images.FITS
    assert get_args(KeepName) == KEEP
    assert get_args(EditDataName) == tuple(EDIT_DATA)
    assert get_args(Preset) == VARIANTS
    assert set(get_args(Precision)) <= set(DTYPES)


def test_settings_name_the_options_that_were_given() -> None:
    assert Settings().given == []
    assert Settings(steps=4, inversion_guidance=2.0, sampler="lcm").given == [
        "--steps",
        "--inversion-guidance",
        "--sampler",
    ]
    assert Settings(edit_losses=True).given == ["--edit-losses"]
    assert Settings(edit_losses=False).given == ["--no-edit-losses"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
def test_help_is_whole_and_plain_in_a_pipe(
    renoise: Renoise, monkeypatch: pytest.MonkeyPatch, command: str, terminal: str
) -> None:
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = renoise(command, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "\x1b" not in shown.out
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


def test_help_groups_the_options_of_an_edit(renoise: Renoise) -> None:
    shown = renoise("edit", "--help").out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", "|")
    panels = ["What to change", "How to invert", "Parts of the method", "Model", "Output"]
    places = [shown.index(f" {panel} ") for panel in panels]
    assert places == sorted(places)
    assert places[0] < shown.index("| --to ") < places[1] < shown.index("| --depth ") < places[2]
    assert places[0] < shown.index("| --strength ") < places[1]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("renoise invert --fit ", ["crop", "pad", "stretch", "keep"]),
        ("renoise edit --preset re", ["released", "reverse"]),
        ("renoise edit --preset dmd", ["dmd2-1", "dmd2-4"]),
        ("renoise web --preset sdxl-t", ["sdxl-turbo-4"]),
        ("renoise evaluate ta", ["table1", "table2"]),
        ("renoise rec", ["reconstruct"]),
    ],
)
def test_shells_complete_values(words: str, completed: list[str]) -> None:
    count = len(words.split(" ")) - 1
    environment = {"_RENOISE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    command = [sys.executable, "-c", "from renoise.cli import main; main()"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == completed
