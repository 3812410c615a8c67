"""Bundled images to try the page with: the first that the bundled models were not trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# They were put in an order by chance once, so that the first are a fair sample.
_COUNT = 8


@dataclass(frozen=True)
class Example:
    """An image with its prompts.

    Attributes:
        path: of the image.
        prompt: what it shows.
        targets: what it could show.
    """

    path: Path
    prompt: str
    targets: tuple[str, ...]


def folder() -> Path | None:
    """Return the folder of the bundled images; None without the package `renoise-mini`."""
    try:
        import renoise_mini
    except ImportError:
        return None
    return Path(renoise_mini.path("heldout"))


def bundled() -> list[Example]:
    """Return the examples; none without the package `renoise-mini`."""
    where = folder()
    if where is None:
        return []
    lines = (where / "captions.jsonl").read_text(encoding="utf-8").splitlines()[:_COUNT]
    entries = [json.loads(line) for line in lines]
    return [Example(where / entry["file"], entry["caption"], tuple(entry["edits"][:2])) for entry in entries]
