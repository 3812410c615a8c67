"""Which rows of a block are worked on together: images of one size, as many targets, and prompts of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from renoise import images
from renoise.image_files import open_bytes
from renoise.jobs.rows import Row


@dataclass(frozen=True, eq=False)
class Piece:
    """A row that can be worked on.

    Attributes:
        row: the row.
        size: (width, height) of its image where that is kept; None where all images come to one size.
    """

    row: Row
    size: tuple[int, int] | None = None


def load(row: Row) -> Image.Image:
    """Return a row's image in mode RGB.

    Raises:
        ImageError: if it cannot be read.
    """
    return images.load(open_bytes(row.image or b"", f"the image of row {row.id}"))


def batches(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """Return rows in batches, which follow from the rows alone: the same rows make the same batches everywhere.

    Args:
        pieces: the rows.
        most: the most rows of a batch.

    Examples:
        >>> rows = [Row(str(n), b"", "a cat " * n, ("a dog",)) for n in (3, 1, 2)]
        >>> [[piece.row.id for piece in batch] for batch in batches([Piece(row) for row in rows], 2)]
        [['1', '2'], ['3']]
    """
    order = sorted(range(len(pieces)), key=lambda i: (_kind(pieces[i]), _length(pieces[i]), i))
    found: list[list[Piece]] = []
    for i in order:
        if found and len(found[-1]) < most and _kind(found[-1][0]) == _kind(pieces[i]):
            found[-1].append(pieces[i])
        else:
            found.append([pieces[i]])
    return found


def _kind(piece: Piece) -> tuple[int, int, int]:
    """Return what all rows of a batch have in common."""
    return (*(piece.size or (0, 0)), len(piece.row.targets))


def _length(piece: Piece) -> int:
    """Return how long the longest of a row's prompts is, in words."""
    return max(len(text.split()) for text in (piece.row.prompt or "", *piece.row.targets))
