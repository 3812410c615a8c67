"""One image with several beside each other, each with its label below: made to be looked at and passed on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

# The title, the text and the image of a panel.
Panel = tuple[str, str, Image.Image]

_MOST_COLUMNS = 4
# Smaller images are enlarged to about this, larger ones than that are scaled down to it.
_READABLE_SIDE, _LARGEST_SIDE = 320, 1024
# A label below less would be a column of single words.
_NARROWEST = 256
_MOST_LINES = 6
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
    shown = [_shown(image) for _, _, image in panels]
    width = max(_NARROWEST, *(image.width for image in shown))
    height = max(image.height for image in shown)
    size = max(13, width // 20)
    # Only a Pillow without FreeType returns a font of another class: its fixed one.
    font = ImageFont.load_default(size)
    margin = max(8, size // 2)
    line_height = round(1.35 * size)

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
            title, image = panels[index][0], shown[index]
            x = margin + column * (width + margin)
            left, top = x + (width - image.width) // 2, y + (height - image.height) // 2
            sheet.paste(image, (left, top))
            draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=_FRAME)
            top = y + height + margin // 2
            for number, line in enumerate([title, *texts[index]]):
                draw.text((x, top + number * line_height), line, fill=_FAINT if number else _INK, font=font)
        y += heights[row] + margin
    return sheet


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break a text into lines no wider than `width`, within words where it must be; at most six lines.

    Examples:
        >>> wrap("a dog, noto style", 8, len)
        ['a dog,', 'noto', 'style']
        >>> wrap("abcdefghij k", 4, len)
        ['abcd', 'efgh', 'ij k']
    """
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if measure(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while measure(word) > width and len(word) > 1:
            fits = max(1, sum(measure(word[:end]) <= width for end in range(1, len(word) + 1)))
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    if line:
        lines.append(line)
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1][:-3]}..."]
    return lines


def _shown(image: Image.Image) -> Image.Image:
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
