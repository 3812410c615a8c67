"""One picture with several beside each other, each with its label below: made to be looked at and passed on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_MOST_COLUMNS = 4
# Smaller pictures are enlarged to about this, because a label below 128 pixels would be a column of single words.
_READABLE_SIDE = 320
_MOST_LINES = 6
_BACKGROUND, _INK, _FAINT, _FRAME = "white", "black", "#666666", "#cccccc"


def side_by_side(pictures: Sequence[tuple[str, str, Image.Image]]) -> Image.Image:
    """Pictures in rows of at most four, each with a title and a text below it.

    Args:
        pictures: (title, text, picture) of each; all of one size.
    """
    from PIL import Image, ImageDraw, ImageFont

    first = pictures[0][2]
    factor = max(1, round(_READABLE_SIDE / max(first.size)))
    width, height = first.width * factor, first.height * factor
    size = max(13, width // 20)
    # Only a Pillow without FreeType returns a font of another class: its fixed one.
    font = ImageFont.load_default(size)
    margin = max(8, size // 2)
    line_height = round(1.35 * size)

    def measure(text: str) -> float:
        return float(font.getlength(text))

    texts = [wrap(text, width, measure) for _, text, _ in pictures]
    columns = _columns(len(pictures))
    rows = math.ceil(len(pictures) / columns)
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
        for column in range(min(columns, len(pictures) - row * columns)):
            index = row * columns + column
            title, _, picture = pictures[index]
            x = margin + column * (width + margin)
            sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y))
            draw.rectangle((x, y, x + width - 1, y + height - 1), outline=_FRAME)
            top = y + height + margin // 2
            for number, line in enumerate([title, *texts[index]]):
                draw.text((x, top + number * line_height), line, fill=_FAINT if number else _INK, font=font)
        y += heights[row] + margin
    return sheet


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break a text into lines no wider than `width`, within words where it must be; at most six lines.

    Example:
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


def _columns(count: int) -> int:
    """As few rows as possible, filled as evenly as possible."""
    rows = math.ceil(count / _MOST_COLUMNS)
    return math.ceil(count / rows)
