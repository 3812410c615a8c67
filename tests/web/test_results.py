from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from renoise.web.forms import EditRequest
from renoise.web.happenings import Edited, Inverted
from renoise.web.results import RECONSTRUCTION, Drawn, Results, Writer
from renoise.web.studio import Studio

TWO = Results("o", "r", "i", (Drawn("1. a", "a", "am", "ac"), Drawn("2. b", "b")), "m")


@pytest.mark.parametrize(
    ("results", "caption", "changed", "pair"),
    [
        (Results(), None, False, None),
        (Results("o", "r", "i"), None, False, ("o", "r")),
        (TWO, None, False, ("o", "b")),
        (TWO, "1. a", False, ("o", "a")),
        (TWO, "1. a", True, ("o", "ac")),
        (TWO, "2. b", True, ("o", "b")),
        (TWO, RECONSTRUCTION, False, ("o", "r")),
        (TWO, "unknown", False, ("o", "r")),
        (Results(None, "r", "i", TWO.edits), None, False, ("r", "b")),
    ],
)
def test_the_image_before_stands_beside_what_is_chosen(
    results: Results, caption: str | None, changed: bool, pair: tuple[str, str] | None
) -> None:
    assert results.pair(caption, changed=changed) == pair


def test_everything_is_offered_once() -> None:
    assert TWO.downloads == ["a", "b", "am", "m", "r", "i"]
    assert TWO.captions == [RECONSTRUCTION, "1. a", "2. b"]
    assert Results(None, "r", "i", TWO.edits).captions == ["1. a", "2. b"]
    assert TWO.gallery(changed=True) == [("ac", "1. a"), ("b", "2. b")]


def test_files_are_written_as_things_happen(
    studio: Studio, make_request: Callable[..., EditRequest], tmp_path: Path
) -> None:
    request = make_request(targets="a blue square\nanother, with a name of very many words that goes on and on and on")
    writer = Writer(tmp_path, request.source)
    counts = []
    for one in studio.edit(request).happenings():
        if isinstance(one, Inverted):
            counts.append(len(writer.inverted(one).downloads))
        elif isinstance(one, Edited):
            counts.append(len(writer.edited(one).downloads))
    assert counts == [2, 4, 6]
    assert all(Path(path).is_file() for path in writer.results.downloads)
    changed = writer.results.edits[0].changed
    assert changed is not None
    assert Image.open(changed).size == (128, 128)
