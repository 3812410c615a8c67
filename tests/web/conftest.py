"""A studio on a bundled model, and requests to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import Editor
from renoise.web.forms import EditRequest, Source, read_edit, read_source
from renoise.web.limits import Limits
from renoise.web.studio import Loaded, Studio
from renoise.web.worker import Job


@cache
def loaded_editor() -> Editor:
    return Editor.from_pretrained("mini-turbo", device="cpu", dtype="float32")


def told(job: Job, kind: type[Any]) -> list[Any]:
    """Return what happened of one kind."""
    return [one for one in job.happenings() if isinstance(one, kind)]


@pytest.fixture
def studio() -> Studio:
    return Studio(loaded_editor(), Limits(queue=2), Loaded("mini-turbo"))


@pytest.fixture
def drawing() -> Image.Image:
    """A simple image of the size of the bundled models."""
    image = Image.new("RGB", (128, 128), "white")
    image.paste("red", (30, 40, 90, 100))
    return image


@pytest.fixture
def source(drawing: Image.Image) -> Source:
    return read_source(drawing, None, "red.png", {"prompt": "a red square"}, Limits())


@pytest.fixture
def make_request(source: Source) -> Callable[..., EditRequest]:
    """A request for one edit, or what a test says of it."""

    def make(own: Source | None = None, mask: Image.Image | None = None, **values: Any) -> EditRequest:
        given = {"targets": "a blue square", "strength": 0.7, **values}
        return read_edit(source if own is None else own, mask, given, Limits())

    return make


@pytest.fixture
def png_file(tmp_path: Path, drawing: Image.Image) -> Path:
    path = tmp_path / "red.png"
    drawing.save(path)
    return path
