"""What an edit should have become, where an image of that exists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

# A colour as the levels of red, green and blue, 0 to 255.
Colour = tuple[int, int, int]
# Makes an image when it is needed: a data set may have thousands of them.
Painter = Callable[[], Image.Image]


@dataclass(frozen=True)
class Truth:
    """The true result of an edit, and what tells whether an edit came to it.

    Attributes:
        kind: what the edit changes, such as "concept".
        result: the image that the edit should have become.
        others: images that an edit could have stayed or become instead. It has changed as asked if the true result is
            nearer to it than each of them. There are none for an edit of the border's colour.
        borders: the colours that the border of an image may have; the first is that of the true result.
    """

    kind: str
    result: Painter
    others: tuple[Painter, ...]
    borders: tuple[Colour, ...]
