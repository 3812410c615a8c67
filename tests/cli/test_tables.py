"""Tables are as wide as the terminal, and whole where there is none."""

from __future__ import annotations

import io
import sys

import pytest

from renoise.cli.tables import two_columns

ROWS = {"prompt": "a cat on a mat " * 20, "file": "x" * 100, "markup": "[red]:cat:[/red]"}


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_whole_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    lines = two_columns(ROWS).splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[name, value.strip()] for name, value in ROWS.items()]


@pytest.mark.parametrize("columns", [40, 80])
def test_values_are_wrapped_in_their_column_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys, "stdout", Tty())
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = two_columns(ROWS).splitlines()
    assert max(map(len, lines)) <= columns
    values = "".join(line[len("prompt  ") :] for line in lines)
    assert values.replace(" ", "") == "".join(ROWS.values()).replace(" ", "")
    assert "\x1b" not in "".join(lines)
