from __future__ import annotations

from pathlib import Path

import pytest

from renoise import Editor
from renoise.web import examples, presets
from web.conftest import loaded_editor


def test_presets_are_offered_with_their_passes() -> None:
    found = presets.choices(loaded_editor())
    assert [choice.name for choice in found] == ["edit", "fast", "balanced", "exact", "paper"]
    assert [choice.passes for choice in found[:4]] == [4, 7, 9, 12]
    assert [choice.default for choice in found] == [True, False, False, False, False]
    assert found[0].label == "edit: best for edits, 4 passes"


def test_any_model_has_presets(editor: Editor) -> None:
    assert all(choice.passes >= 1 for choice in presets.choices(editor))


def test_examples_are_bundled_images_with_prompts() -> None:
    found = examples.bundled()
    assert len(found) == 8
    assert all(example.path.is_file() and example.prompt and len(example.targets) == 2 for example in found)


def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "folder", lambda: None)
    assert examples.bundled() == []


def test_the_folder_of_the_examples_is_theirs_alone() -> None:
    folder = examples.folder()
    assert folder is not None
    assert {path.suffix for path in Path(folder).iterdir()} == {".png", ".jsonl"}
