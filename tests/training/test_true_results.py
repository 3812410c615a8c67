"""What an edit could be taken for: drawings of its style that no background hides."""

from __future__ import annotations

import numpy as np

from training.artwork import ART
from training.data import BACKGROUNDS, Drawing
from training.true_results import POOL, is_seen, pools_of


def disc(colour: tuple[int, int, int]) -> np.ndarray:
    """Draw a disc (112, 112, 4) on nothing."""
    y, x = np.mgrid[:ART, :ART] - ART / 2
    inside = (x**2 + y**2 < (ART / 3) ** 2)[..., None]
    return np.where(inside, np.array([*colour, 255]), 0).astype(np.uint8)


def test_a_drawing_in_the_colour_of_a_background_is_not_seen() -> None:
    for colour in BACKGROUNDS.values():
        assert not is_seen(disc(colour))
    assert is_seen(disc((220, 30, 160)))


def test_pools_are_of_their_style_and_leave_out_what_is_not_seen() -> None:
    concepts = tuple(f"thing-{i}" for i in range(2 * POOL))
    hidden = {f"thing-{i}" for i in range(0, 2 * POOL, 10)}
    rows = {Drawing(concept, "noto"): i for i, concept in enumerate(concepts)}
    drawings = np.stack([disc(BACKGROUNDS["black"] if c in hidden else (220, 30, 160)) for c in concepts])
    pools = pools_of(drawings, rows, concepts)
    assert len(set(pools["noto"])) == len(pools["noto"]) == POOL
    assert not hidden & set(pools["noto"])
    assert pools["twemoji"] == []
    assert pools == pools_of(drawings, rows, concepts)
