"""What the value of an option may be: parsers that refuse the others in one line, before any work is done."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import typer

from renoise.escaping import shown
from renoise.ranges import LARGEST

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Python refuses to read numbers of thousands of digits, and none of so many is in any range here.
_MOST_DIGITS = 40
# Upper bounds beyond this keep typing errors out, and are no news in the help.
_TOLD = 1000
# As much of a wrong value as its reader needs to recognise it.
_SHOWN = 60


def whole(least: int, most: int) -> dict[str, Any]:
    """Return what tells typer to take a whole number from `least` to `most`, written in digits."""

    def parse(text: Any) -> int:
        digits = str(text)
        if _WHOLE.fullmatch(digits) and len(digits) <= _MOST_DIGITS and least <= int(digits) <= most:
            return int(digits)
        raise typer.BadParameter(f"{_quoted(digits)} is not a whole number {_between(least, most)}")

    return {"parser": parse, "min": least, "max": most if most <= _TOLD else None}


def decimal(least: float, most: float = LARGEST, *, above: bool = False) -> dict[str, Any]:
    """Return what tells typer to take a finite number from `least` to `most`.

    Args:
        least: the lower bound.
        most: the upper bound.
        above: whether the number must lie above the lower bound.
    """

    def parse(text: Any) -> float:
        written = str(text)
        value = float(written) if _DECIMAL.fullmatch(written) else math.nan
        if least <= value <= most and not (above and value == least):
            return value
        bounds = f"above {least:g} and at most {most:g}" if above else _between(least, most)
        raise typer.BadParameter(f"{_quoted(written)} is not a number {bounds}")

    return {"parser": parse}


def readable(text: Any) -> str:
    """Return a text as it is, unless its bytes are no text in the terminal's encoding, or it holds a NUL."""
    written = str(text)
    if any("\ud800" <= character <= "\udfff" for character in written):
        raise typer.BadParameter(f"{_quoted(written)} is not valid in this terminal's encoding")
    if "\0" in written:
        raise typer.BadParameter(f"{_quoted(written)} holds a NUL character")
    return written


def place(text: Any) -> str:
    """Return the text of a path, with `~` at its beginning expanded as a shell does, and its last slash kept."""
    written: str = os.fspath(text)
    if not written.strip():
        raise typer.BadParameter(f"{_quoted(written)} is an empty name; name a file or a folder")
    if "\0" in written:
        raise typer.BadParameter(f"{_quoted(written)} holds a NUL character, which no path does")
    return os.path.expanduser(written)


def path(text: Any) -> Path:
    """Return a path, with `~` at its beginning expanded as a shell does."""
    return Path(place(text))


def _between(least: float, most: float) -> str:
    return f"from {least} to {most}" if isinstance(most, int) else f"from {least:g} to {most:g}"


def _quoted(text: str) -> str:
    return f"'{shown(text, _SHOWN)}'"
