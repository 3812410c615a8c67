"""One image with several beside each other, each with its label below: made to be looked at and passed on."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from renoise.escaping import shown

# The title, the text and the image of a panel.
Panel = tuple[str, str, Image.Image]

_MOST_COLUMNS = 4
# Smaller images are enlarged to about this, larger ones than that are scaled down to it.
_READABLE_SIDE, _LARGEST_SIDE = 320, 1024
# A label below less would be a column of single words.
_NARROWEST = 256
_MOST_LINES = 6
# More characters than six lines of the widest panels hold; what a prompt has beyond them is never measured.
_MOST_CHARACTERS = 1200
_BACKGROUND, _INK, _FAINT, _FRAME = "white", "black", "#666666", "#cccccc"


def side_by_side(panels: Sequence[Panel]) -> Image.Image:
    """Draw images in rows of at most four, each with its title and its text below it.

    Args:
        panels: the title, the text and the image of each; images may have any size and shape.

    Examples:
        >>> cat, dog = Image.new("RGB", (128, 128), "red"), Image.new("RGB", (128, 128), "blue")
        >>> side_by_side([("source", "a cat", cat), ("edit", "a dog", dog)]).size
        (536, 316)
    """
    drawn = [_readable(image) for _, _, image in panels]
    width = max(_NARROWEST, *(image.width for image in drawn))
    height = max(image.height for image in drawn)
    size = max(13, width // 20)
    # Only a Pillow without FreeType returns a font of another class: its fixed one.
    font = ImageFont.load_default(size)
    margin = max(8, size // 2)
    line_height = round(1.35 * size)

    @cache
    def measure(text: str) -> float:
        return float(font.getlength(text))

    texts = [wrap(text, width, measure) for _, text, _ in panels]
    columns = _columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    heights = [
        height + margin + line_height * (1 + max(len(t) for t in texts[row * columns : (row + 1) * columns]))
        for row in range(rows)
    ]
    sheet = Image.new(
        "RGB", (columns * (width + margin) + margin, sum(heights) + margin * (rows + 1)), color=_BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    y = margin
    for row in range(rows):
        for column in range(min(columns, len(panels) - row * columns)):
            index = row * columns + column
            title, image = panels[index][0], drawn[index]
            x = margin + column * (width + margin)
            left, top = x + (width - image.width) // 2, y + (height - image.height) // 2
            sheet.paste(image, (left, top))
            draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=_FRAME)
            top = y + height + margin // 2
            for number, line in enumerate([shown(title, 100), *texts[index]]):
                draw.text((x, top + number * line_height), line, fill=_FAINT if number else _INK, font=font)
        y += heights[row] + margin
    return sheet


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break a text into lines no wider than `width`, within words where it must be; at most six lines.

    Chinese and Japanese are broken anywhere. Control characters are escaped. A text that is cut ends in dots.

    Examples:
        >>> wrap("a dog, noto style", 8, len)
        ['a dog,', 'noto', 'style']
        >>> wrap("abcdefghij k", 4, len)
        ['abcd', 'efgh', 'ij k']
    """
    begin, rest = text[: _MOST_CHARACTERS + 1], text[_MOST_CHARACTERS + 1 :]
    # Blanks other than spaces break lines, too; they are no control characters to escape.
    left = shown(" ".join(begin.split()), 8 * _MOST_CHARACTERS)
    lines: list[str] = []
    while left and len(lines) <= _MOST_LINES:
        line, left = _first_line(left, width, measure)
        lines.append(line)
    if len(lines) > _MOST_LINES or left or (rest and lines):
        last = lines[:_MOST_LINES][-1]
        while last and measure(f"{last}...") > width:
            last = last[:-1]
        lines = [*lines[:_MOST_LINES][:-1], f"{last}..."]
    return lines


def _first_line(text: str, width: float, measure: Callable[[str], float]) -> tuple[str, str]:
    """Return as much of a text as fits on a line, broken at a blank if there is one, and the rest of it."""
    # Widths grow with lengths, nearly: twenty-odd measurements find the longest part that fits.
    fits, too_long = 1, 2
    while too_long <= len(text) and measure(text[:too_long]) <= width:
        fits, too_long = too_long, 2 * too_long
    too_long = min(too_long, len(text) + 1)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if measure(text[:middle]) <= width else (fits, middle)
    if fits == len(text):
        return text, ""
    blank = text.rfind(" ", 1, fits + 1)
    end = fits if blank < 0 or _broken_anywhere(text[fits - 1], text[fits]) else blank
    return text[:end].rstrip(" "), text[end:].lstrip(" ")


def _broken_anywhere(before: str, after: str) -> bool:
    """Return whether a line may end between two characters, as in scripts that are written without blanks."""
    return all(unicodedata.east_asian_width(character) in "WF" for character in (before, after))


def _readable(image: Image.Image) -> Image.Image:
    """Bring an image to a size to look at: enlarge the pixels of small ones, scale large ones down."""
    longest = max(image.size)
    factor = max(1, round(_READABLE_SIDE / longest))
    if longest <= _LARGEST_SIDE:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = _LARGEST_SIDE / longest
    smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(smaller, Image.Resampling.LANCZOS)


def _columns(count: int) -> int:
    """Return the columns with which rows are as few as possible, and filled as evenly as possible."""
    rows = math.ceil(count / _MOST_COLUMNS)
    return math.ceil(count / rows)
