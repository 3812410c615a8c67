from __future__ import annotations

import random

import pytest

from renoise import ImageError
from renoise.jobs.batches import Piece, batches, load
from renoise.jobs.rows import Row


def piece(number: int, size: tuple[int, int] | None = None, words: int = 1, targets: int = 1) -> Piece:
    return Piece(Row(str(number), b"", "cat " * words, ("dog",) * targets), size)


def test_a_batch_has_images_of_one_size_and_as_many_targets() -> None:
    sizes = [(64, 64), (64, 32), (32, 64)]
    pieces = [piece(n, sizes[n % 3], targets=1 + n % 2) for n in range(24)]
    found = batches(pieces, 3)
    assert all(len({(one.size, len(one.row.targets)) for one in batch}) == 1 for batch in found)
    assert all(len(batch) <= 3 for batch in found)
    assert sorted(one.row.id for batch in found for one in batch) == sorted(one.row.id for one in pieces)
    assert len(found) == 12


def test_prompts_of_like_length_go_together() -> None:
    lengths = list(range(1, 17))
    random.Random(0).shuffle(lengths)
    found = batches([piece(n, words=words) for n, words in enumerate(lengths)], 4)
    assert [[len((one.row.prompt or "").split()) for one in batch] for batch in found] == [
        [n, n + 1, n + 2, n + 3] for n in (1, 5, 9, 13)
    ]


def test_a_broken_image_is_named_by_its_row() -> None:
    with pytest.raises(ImageError, match="the image of row 7"):
        load(Row("7", b"nothing", None, ()))
