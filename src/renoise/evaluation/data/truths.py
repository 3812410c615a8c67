"""What an edit should have become, where a picture of that exists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

# A colour as the levels of red, green and blue, 0 to 255.
Colour = tuple[int, int, int]
# Makes a picture when it is needed: a data set may have thousands of them.
Picture = Callable[[], Image.Image]


@dataclass(frozen=True)
class Truth:
    """The true result of an edit, and what tells whether an edit came to it.

    Attributes:
        kind: what the edit changes, such as "concept".
        result: the picture that the edit should have become.
        others: pictures that an edit could have stayed or become instead. It has changed as asked if the true result is
            nearer to it than each of them. There are none for an edit of the border's colour.
        borders: the colours that the border of a picture may have; the first is that of the true result.
    """

    kind: str
    result: Picture
    others: tuple[Picture, ...]
    borders: tuple[Colour, ...]
