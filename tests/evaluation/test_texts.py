"""Text from outside in the files of a run: it is shown, and commands nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renoise.evaluation import outputs
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import as_csv, as_markdown, summarise
from renoise.evaluation.texts import in_markdown, in_plot, in_spreadsheet
from report_pages import Page

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]
MakeRun = Callable[..., list[Measurement]]

HOSTILE = {
    "terminal": "\x1b[31mred\x07\x9b0m\r\nnext",
    "formula": '=HYPERLINK("http://example.org";"open")',
    "formula after a blank": " \t@SUM(1)",
    "full-width formula": "\uff1d1+1",
    "cells": "a | b || c",
    "code": "`a` ``",
    "tags": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "link": "[open](javascript:alert(1)) ![](https://example.org/a.png)",
    "entities": "&lt;b&gt; &#x41;",
    "attribute": '" onload="alert(1)',
    "mathtext": r"$\frac{$ and $x^$",
    "one dollar": "$",
    "not UTF-8": "caf\udce9",
    "right to left": "\u202egnp.exe",
    "separators": "a\u2028b\x85c",
    "NUL": "a\0b",
    "long": "x" * 5000,
    "many words": "word " * 1000,
    "jinja": "{{ 7 * 7 }} {% raw %}",
    "backslashes": r"\| \\| \x1b",
    "empty": "",
}


def run_of(make_run: MakeRun, run: str) -> list[Measurement]:
    """A run with a row for each text, which stands in its label, names, prompts and errors."""
    found: list[Measurement] = []
    first, *_ = make_run(run, images=1)
    # A row of figure 7 is a panel, which takes its time.
    names = ("terminal", "mathtext", "long") if run == "figure7" else tuple(HOSTILE)
    for row, name in enumerate(names):
        text = HOSTILE[name]
        target = None if first.target is None else f"{text}{name}"
        more: dict[str, Any] = {"prompt": text, "target": target, "model": f"mini{text}", "data": f"{text}/data"}
        more |= {} if target is None else {"edit_type": f"{text}type"}
        m = replace(first, row=row, label=f"{text}{name}", image=f"{text}{name}.png", **more)
        found += [m, replace(m, image=f"{text}2.png", psnr=None, error=f"{text}: failed")]
    return found


@pytest.mark.parametrize("run", ["table2", "figure7", "editing"])
def test_every_file_is_written_and_clean(make_run: MakeRun, tmp_path: Path, run: str) -> None:
    outputs.write(tmp_path, run, run_of(make_run, run))
    for file in ("summary.csv", "summary.md", "report.html"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert not [c for c in text if c != "\n" and not c.isprintable()], file
        assert "x" * 2001 not in text, file
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.all("script") == []
    assert {name for _, attributes in page.tags for name in attributes} <= {
        *("charset", "name", "content", "lang", "class", "id", "role", "aria-label", "tabindex", "scope", "open"),
        *("src", "alt", "loading"),
    }
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_is_a_formula(make_row: MakeRow, make_failure: Make, name: str) -> None:
    text = HOSTILE[name]
    rows = [*make_row(30.0, label=text), make_failure(label=f"{text}2", row=1, error=text, psnr=None)]
    first, second = csv.DictReader(io.StringIO(as_csv(summarise(rows))))
    for cell in (first["method"], second["method"], second["error"]):
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\t", "\r"))
    assert (first["psnr_mean"], second["psnr_mean"]) == ("30.0", "")


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "\uff0b", "\uff20"])
def test_text_follows_an_apostrophe_where_it_would_be_a_formula(sign: str) -> None:
    assert in_spreadsheet(f"{sign}1+1").startswith("'")


@pytest.mark.parametrize("value", [-1.5, 3, 0, None, "a cat", "a=1", "'x'"])
def test_numbers_and_other_text_stay_as_they_are_in_a_spreadsheet(value: object) -> None:
    assert in_spreadsheet(value) == value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_row_of_markdown_stays_one_row(make_row: MakeRow, name: str) -> None:
    label = HOSTILE[name]
    table = as_markdown(summarise(make_row(30.0, 31.0, label=label))).split("\n\n")[1].splitlines()
    assert len(table) == 3
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table]
    assert len(set(cells)) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>x</b>", r"\<b>x\</b>"),
        ("[a](b)", r"\[a\](b)"),
        ("a|b", r"a\|b"),
        ("`a`", r"\`a\`"),
        ("&amp;", r"\&amp;"),
        (r"a\|b", r"a\\\|b"),
        ("+ 4 renoising iterations", "+ 4 renoising iterations"),
        ("50 / 50 / 0, DDIM & K = 1 < 2", "50 / 50 / 0, DDIM & K = 1 < 2"),
    ],
)
def test_markup_is_shown(text: str, shown: str) -> None:
    assert in_markdown(text) == shown


def test_labels_of_plots_are_short_and_no_formulas() -> None:
    assert in_plot("x " * 1000).count("\n") < 4
    assert in_plot("$x$") == r"\$x\$"
    assert "\n" not in in_plot("a label of many words, longer than one line", lines=1)
