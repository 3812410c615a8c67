"""Tiny pipelines in hub layout with random weights, and pictures, for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import Editor

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    # The pipelines are so small that threads only get into each other's way.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture
def make_editor() -> Callable[..., Editor]:
    """An editor on a tiny pipeline of its own, with a scheduler made from the pipeline's configuration."""

    def make(model: str = "tiny-sd", scheduler: str | None = None, **changes: Any) -> Editor:
        import diffusers

        editor = Editor.from_pretrained(DATA / model, device="cpu", dtype="float32")
        if scheduler is not None:
            changes = {"clip_sample": False, **changes}
            made = getattr(diffusers, scheduler).from_config(editor.pipe.scheduler.config, **changes)
            editor.pipe.scheduler = made
        return editor

    return make


@pytest.fixture
def editor(make_editor: Callable[..., Editor]) -> Editor:
    return make_editor()


@pytest.fixture
def picture() -> Image.Image:
    """A smooth picture with some detail, 100 x 80."""
    y, x = np.mgrid[0:80, 0:100] / 100.0
    red, green, blue = 0.5 + 0.5 * np.sin(9 * x), y, (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05
    return Image.fromarray((np.stack([red, green, blue], axis=-1) * 255).astype(np.uint8))
