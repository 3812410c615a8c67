"""Contact sheets hold every image whole, with its label, in a size to look at."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from renoise.sheets import side_by_side, wrap


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


LONG = {
    "chinese": "\u732b\u72d7\u72ee\u5b50" * 2500,
    "japanese": "\u3042\u3044\u3046\u3001\u30a8" * 2000,
    "korean": "\uac00\ub098 " * 3000,
    "one word": "x" * 100_000,
    "narrow": "i" * 100_000,
    "words": "a lion in the field " * 10_000,
    "controls": "\x1b[31m\u202e" * 10_000,
    "emoji": "\U0001f981\u200d\U0001f525" * 5_000,
    "combining": "e" + "\u0301" * 50_000,
    "no glyphs": "\U000e0041\uffff\u0378" * 5_000,
    "blanks": " \n\t\u3000" * 50_000,
    "arabic": "\u0623\u0633\u062f " * 10_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_any_prompt_is_laid_out_at_once(text: str) -> None:
    panel = ("edit", text, Image.new("RGB", (128, 128)))
    side_by_side([panel])  # the font is read once
    begun = time.perf_counter()
    sheet = side_by_side([panel] * 4)
    assert time.perf_counter() - begun < 0.5
    assert sheet.height < 700


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_measurements_are_few_and_lines_fit(text: str) -> None:
    measured = []

    def measure(part: str) -> float:
        measured.append(part)
        return float(len(part))

    lines = wrap(text, 40, measure)
    assert len(measured) < 200
    assert len(lines) <= 6
    assert all(len(line) <= 40 for line in lines)
    assert not lines or lines[-1].endswith("...")


def test_scripts_without_blanks_fill_their_lines() -> None:
    text = "\u732b" * 25
    assert wrap(text, 10, len) == [text[:10], text[:10], text[:5]]
    assert wrap(f"a cat {text}", 10, len)[0] == f"a cat {text[:4]}"


def test_controls_are_escaped() -> None:
    assert wrap("a\x1b[31m \u202ecat\nb", 60, len) == ["a\\x1b[31m \\u202ecat b"]


def test_lone_surrogates_and_missing_glyphs_are_drawn() -> None:
    assert side_by_side([("\ud800", "\udce9 \U0001f981 \u0378", Image.new("RGB", (8, 8)))]).width > 0
