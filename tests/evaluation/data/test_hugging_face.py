"""Data sets of the library `datasets`, which a made-up library stands in for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from data_sets import refusal, touch
from renoise.evaluation import data


class Library(ModuleType):
    """As much of `datasets` as is used: what it has is in `cached` and `saved`, and it insists on being offline."""

    def __init__(self) -> None:
        super().__init__("datasets")
        self.config = SimpleNamespace(HF_HUB_OFFLINE=False)
        self.cached: dict[str, Any] = {}
        self.saved: Any = None

    def load_dataset(self, name: str) -> Any:
        self.check_offline()
        if name not in self.cached:
            raise ConnectionError(f"Couldn't reach\n{name}")
        return self.cached[name]

    def load_from_disk(self, folder: str) -> Any:
        self.check_offline()
        if self.saved is None:
            raise FileNotFoundError(f"{folder} is\nno data set")
        return self.saved

    def check_offline(self) -> None:
        from huggingface_hub import constants

        assert self.config.HF_HUB_OFFLINE
        assert constants.HF_HUB_OFFLINE


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    module = Library()
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def picture(width: int = 8) -> Image.Image:
    return Image.new("RGB", (width, 8))


@pytest.mark.parametrize("image", ["image", "jpg", "png"])
@pytest.mark.parametrize("caption", ["caption", "text", "prompt"])
def test_a_cached_data_set(library: Library, image: str, caption: str) -> None:
    rows = [{image: picture(), caption: "one", "x": 1}, {image: picture(9), caption: ["two ", "zwei"], "x": 2}]
    library.cached["owner/set"] = {"test": rows}
    for source in ("owner/set", "hf:owner/set", "owner/set:test", "hf:owner/set:test"):
        examples = data.load(source)
        assert [(e.name, e.prompt) for e in examples] == [("000000", "one"), ("000001", "two")]
        assert examples[1].image is rows[1][image]
    assert len(data.load("owner/set", limit=1)) == 1
    assert len(data.load("owner/set", limit=5)) == 2


def test_a_split_is_needed_where_there_are_several(library: Library) -> None:
    library.cached["o/s"] = {"train": [], "test": [{"image": picture(), "text": "one"}]}
    assert len(data.load("o/s:test")) == 1
    assert "several splits; give one of o/s:train, o/s:test" in refusal("o/s")
    assert "no split 'dev'; give one of o/s:train, o/s:test" in refusal("o/s:dev")
    assert "holds no images" in refusal("o/s:train")


def test_nothing_is_fetched_and_the_switches_go_back(library: Library) -> None:
    from huggingface_hub import constants

    message = refusal("owner/absent")
    assert "no folder or file here" in message
    assert "datasets.load_dataset('owner/absent')" in message
    assert library.config.HF_HUB_OFFLINE is False
    assert constants.HF_HUB_OFFLINE is False


def test_data_sets_saved_to_disk(library: Library, tmp_path: Path) -> None:
    for marker in ("state.json", "dataset_dict.json"):
        touch(tmp_path / marker.replace(".", "-"), marker)
    one, several = tmp_path / "state-json", tmp_path / "dataset_dict-json"
    assert "cannot be read as a saved data set" in refusal(one)
    library.saved = [{"png": picture(), "prompt": "one"}]
    assert [e.prompt for e in data.load(one)] == ["one"]
    library.saved = {"train": library.saved, "test": []}
    assert f"give one of {several}/train, {several}/test" in refusal(several)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"photo": picture(), "text": "a"}, "row 1, needs one of image, jpg, png, and has photo, text"),
        ({"image": picture(), "label": 3}, "row 1, needs one of caption, text, prompt"),
        ({"image": {"bytes": b""}, "text": "a"}, "row 1, holds a dict for an image"),
        ({"image": picture(), "text": []}, "row 1, the caption must be text"),
        ({"image": picture(), "text": 7}, "row 1, the caption must be text"),
    ],
)
def test_rows_that_are_wrong_are_refused(library: Library, row: dict[str, Any], message: str) -> None:
    library.cached["o/s"] = {"test": [{"image": picture(), "text": "fine"}, row]}
    assert message in refusal("o/s")
    assert len(data.load("o/s", limit=1)) == 1


def test_rows_that_cannot_be_decoded_are_refused(library: Library) -> None:
    class Broken(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            raise OSError("cannot identify\nimage file")

    library.cached["o/s"] = Broken([0])
    assert "row 0, cannot be read: cannot identify image file" in refusal("o/s")


def test_without_the_library_its_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    touch(tmp_path / "saved", "state.json")
    for source in ("owner/set", "hf:owner/set:test", "saved"):
        assert "pip install datasets" in refusal(source)
