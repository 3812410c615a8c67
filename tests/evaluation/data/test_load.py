"""`data.load`: which sort of data set a source is, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from data_sets import refusal
from renoise import ConfigError
from renoise.evaluation import data


def test_the_bundled_images() -> None:
    renoise_mini = pytest.importorskip("renoise_mini")
    lines = (renoise_mini.path("heldout") / "captions.jsonl").read_text().splitlines()
    examples = data.load("mini-heldout")
    assert len(examples) == len(lines) >= 64
    first, written = examples[0], json.loads(lines[0])
    assert (first.name, first.prompt) == (written["file"], written["caption"])
    assert list(first.targets) == written["edits"]
    assert (first.mask, first.edit_type) == (None, None)
    assert isinstance(first.image, Path)
    assert first.image.is_file()
    assert data.load("mini-heldout", limit=5) == examples[:5]


def test_bundled_images_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "renoise_mini", None)
    assert "pip install 'renoise[mini]'" in refusal("mini-heldout")


def test_the_first_images_are_left_out() -> None:
    examples = data.load("mini-heldout", limit=3)
    assert data.without_first(examples, 0, "mini-heldout") == examples
    assert data.without_first(examples, 2, "mini-heldout") == examples[2:]
    with pytest.raises(ConfigError, match="none is left of the first 3 images of mini-heldout without 3 of them"):
        data.without_first(examples, 3, "mini-heldout")


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
def test_limits_that_are_none_are_refused(tmp_path: Path, limit: Any) -> None:
    assert "at least 1" in refusal(tmp_path, limit=limit)


@pytest.mark.parametrize(
    "source", ["./nowhere", "nowhere", "a/b/c", "~/nowhere-at-all/x", "owner/", Path("owner/name")]
)
def test_sources_that_are_nowhere_are_refused(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(source)
    for part in ("there is no data set", "mini-heldout", "owner/name", "cocodataset.org", "cure-lab/PnPInversion"):
        assert part in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "must be 'mini-heldout', 'mini-edits', a folder"),
        (7, "must be 'mini-heldout', 'mini-edits', a folder"),
        ("", "must be 'mini-heldout', 'mini-edits', a folder"),
        ("x" * 5000, "no usable path"),
        ("x\0y", "no"),
    ],
)
def test_sources_that_are_no_names_are_refused(source: Any, message: str) -> None:
    assert message in refusal(source)
