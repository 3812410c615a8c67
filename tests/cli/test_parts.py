"""The parts that need no model: labels, names, documents, the bar."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import Progress
from renoise.cli.destinations import slug
from renoise.cli.report import as_json, decibels
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Terminal
from renoise.sheets import side_by_side, wrap


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A dog, noto style!", "a-dog-noto-style"),
        ("", "empty"),
        ("../../etc/passwd", "etc-passwd"),
        ("snake_case and CamelCase", "snake-case-and-camelcase"),
        ("ein Hündchen", "ein-hündchen"),
        ("一只猫", "一只猫"),
        ("🐱", "empty"),
        ("x" * 90, "x" * 56),
        ("word " * 20, "-".join(["word"] * 11)),
    ],
)
def test_slug(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    text = "a horse face, noto style, on a superextraordinarilylongword background"
    lines = wrap(text, 16, len)
    assert all(len(line) <= 16 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_long_labels_end_in_dots() -> None:
    lines = wrap("word " * 50, 12, len)
    assert len(lines) == 6
    assert lines[-1].endswith("...")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (96, 64)])
def test_comparison_holds_every_picture_whole(count: int, size: tuple[int, int]) -> None:
    colours = [(40 + 20 * i, 200 - 10 * i, 90) for i in range(count)]
    panels = [("edit", f"number {i} " * i, Image.new("RGB", size, c)) for i, c in enumerate(colours)]
    sheet = side_by_side(panels)
    counts = {colour: n for n, colour in sheet.getcolors(1 << 24) or []}
    areas = {counts[colour] for colour in colours}
    assert len(areas) == 1
    assert areas.pop() >= 60 * 60


@pytest.mark.parametrize("size", [(4000, 3000), (5000, 1), (1, 5000), (1, 1), (300, 900), (1025, 1024)])
def test_comparison_of_any_size_and_shape_is_of_a_size_to_look_at(size: tuple[int, int]) -> None:
    sheet = side_by_side([("source", "a cat", Image.new("RGB", size, "red")), ("edit", "", Image.new("RGB", size))])
    counts = {colour: n for n, colour in sheet.getcolors(1 << 24) or []}
    assert 2 * 256 < sheet.width < 2 * 1100
    assert sheet.height < 1400
    assert counts[255, 0, 0] >= min(size[0] * size[1], 1000)


def test_comparison_of_unequal_pictures_keeps_their_shapes() -> None:
    colours = {(200, 40, 40): (64, 64), (40, 200, 40): (640, 160), (40, 40, 200): (100, 400)}
    sheet = side_by_side([("edit", "", Image.new("RGB", size, colour)) for colour, size in colours.items()])
    pixels = np.asarray(sheet)
    for colour, (width, height) in colours.items():
        rows, columns = np.nonzero((pixels == colour).all(axis=-1))
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == width / height


def test_comparison_of_an_empty_prompt() -> None:
    assert side_by_side([("source", "", Image.new("RGB", (64, 64)))]).width >= 256


def test_json_has_no_infinities() -> None:
    text = as_json({"psnr": float("inf"), "list": [float("nan"), 1.5], "path": "a"})
    assert json.loads(text) == {"psnr": None, "list": [None, 1.5], "path": "a"}


def test_decibels() -> None:
    assert decibels(float("inf")) == "infinite"


@pytest.mark.parametrize(("stream", "shown"), [(Tty(), True), (io.StringIO(), False)])
def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal:
        terminal.note("hello [bold]you[/bold]\nthere")
        with terminal.stage("inverting") as stage:
            stage(Progress("invert", 3, 8, 500, 0, 4, torch.zeros(1, 1, 2, 2)))
            time.sleep(0.3)  # the bar is drawn ten times a second
            assert stage.passes == 3
    text = stream.getvalue()
    assert "renoise: hello [bold]you[/bold] there\n" in text
    assert ("inverting" in text) is shown
    assert ("3/8 network passes" in text) is shown


def test_quiet_terminals_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal(quiet=True) as terminal, terminal.stage("inverting") as stage:
        terminal.note("hello")
        stage(Progress("invert", 3, 8, 500, 0, 4, torch.zeros(1, 1, 2, 2)))
        stage.tell(3, 8, "a row")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("total", "said"), [(600, 10), (12, 10), (3, 3), (1, 1), (0, 0)])
def test_work_without_a_bar_is_told_by_tenths(monkeypatch: pytest.MonkeyPatch, total: int, said: int) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal(quiet=False) as terminal, terminal.stage("measuring") as stage:
        for done in range(total + 1):
            stage.tell(done, total, "a row")
    lines = stream.getvalue().splitlines()
    assert len(lines) == said
    assert all(line.startswith("renoise: measuring: ") for line in lines)
    if total == 600:
        assert lines[1] == "renoise: measuring: 20% (120/600)"
    if total:
        assert lines[-1] == f"renoise: measuring: 100% ({total}/{total})"


def test_work_with_a_bar_is_told_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal, terminal.stage("measuring") as stage:
        stage.tell(3, 6, "a row (3/6)")
        time.sleep(0.3)
    assert "a row (3/6)" in stream.getvalue()
    assert "renoise: measuring" not in stream.getvalue()


def test_libraries_are_silenced_for_as_long_as_it_lasts(capfd: pytest.CaptureFixture[str]) -> None:
    from diffusers.utils import logging as diffusers_logging

    notes: list[str] = []
    theirs = diffusers_logging.get_logger("diffusers.anything")
    with quiet_libraries(notes.append):
        theirs.warning("something about xformers")
        theirs.warning(
            "The following part of your input was truncated because CLIP can only handle sequences up to 77 tokens: "
            "['and a\n hat']"
        )
        logging.getLogger("renoise.backbones").info("sampling with DDIM instead")
    logging.getLogger("renoise.backbones").info("nobody listens any more")
    assert notes == [
        "warning: the prompt is longer than the model's 77 tokens; left out: 'and a\\n hat'",
        "sampling with DDIM instead",
    ]
    assert capfd.readouterr().err == ""


def test_python_dash_m_is_the_command() -> None:
    source = Path(sys.modules["renoise"].__file__ or "").with_name("__main__.py")
    assert "from renoise.cli import main" in source.read_text()
