"""COCO's captions file: which images are taken, where they are looked for, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_sets import refusal, touch, write_json
from renoise.errors import ConfigError
from renoise.evaluation import data

FILES = [f"{i:012d}.jpg" for i in (2, 5, 9)]


def coco_content() -> dict[str, Any]:
    """Four images out of order; number 3 is one pixel too low, and 2 has its first caption after its second."""
    sizes = {9: (640, 427), 2: (421, 421), 3: (640, 420), 5: (500, 640)}
    return {
        "info": {},
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": w, "height": h} for i, (w, h) in sizes.items()],
        "annotations": [
            {"id": 30, "image_id": 2, "caption": "the second of two"},
            {"id": 20, "image_id": 2, "caption": "Two. \n"},
            {"id": 40, "image_id": 3, "caption": "three"},
            {"id": 50, "image_id": 9, "caption": "nine"},
            {"id": 60, "image_id": 5, "caption": "five"},
            {"id": 70, "image_id": 77, "caption": "of an image that is not here"},
        ],
    }


@pytest.mark.parametrize(
    ("captions", "pictures"),
    [
        ("annotations/captions_val2017.json", "val2017"),
        ("captions_val2017.json", "val2017"),
        ("captions_val2017.json", "."),
        ("some.json", "val2017"),
        ("annotations/captions_train2014.json", "train2014"),
    ],
)
def test_coco(tmp_path: Path, captions: str, pictures: str) -> None:
    (tmp_path / captions).parent.mkdir(exist_ok=True)
    path = write_json(tmp_path / captions, coco_content())
    touch(tmp_path / pictures, *FILES)
    examples = data.load(path)
    assert [(e.name, e.prompt) for e in examples] == [("2", "Two."), ("5", "five"), ("9", "nine")]
    assert [e.image for e in examples] == [tmp_path / pictures / name for name in FILES]
    assert data.load(path, limit=2) == examples[:2]


def test_coco_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "annotations").mkdir()
    write_json(tmp_path / "annotations/captions_val2017.json", coco_content())
    touch(tmp_path / "val2017", *FILES)
    monkeypatch.chdir(tmp_path / "annotations")
    assert len(data.load("captions_val2017.json")) == 3


def test_coco_images_that_are_missing(tmp_path: Path) -> None:
    path = write_json(tmp_path / "captions_val2017.json", coco_content())
    touch(tmp_path / "val2017", FILES[0])
    assert len(data.load(path, limit=1)) == 1
    message = refusal(path)
    assert "2 images are missing of the 3" in message
    assert FILES[1] in message
    assert "https://cocodataset.org/#download" in message


def without_caption(content: dict[str, Any]) -> None:
    """What COCO's instances file looks like."""
    del content["annotations"][0]["caption"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("images"), "is no COCO captions file: Object missing required field `images`; take"),
        (lambda c: c.update(annotations={}), r"Expected `array`, got `object` - at `\$\.annotations`"),
        (without_caption, r"missing required field `caption` - at `\$\.annotations\[0\]`"),
        (lambda c: c["images"][1].update(id="2"), r"Expected `int`, got `str` - at `\$\.images\[1\]\.id`"),
        (lambda c: c["images"][1].update(height=True), r"Expected `int`, got `bool` - at `\$\.images\[1\]\.height`"),
        (lambda c: c["images"][1].update(height="\ud800"), "is no COCO captions file: .* surrogates not allowed"),
        (lambda c: c["images"].append(7), r"Expected `object`, got `int` - at `\$\.images\[4\]`"),
        (lambda c: c["images"].append(c["images"][0]), "two images of the id 9"),
        (lambda c: c["annotations"].pop(4), "the caption of image 5 must be text"),
        (lambda c: c["images"].clear(), "none of the 0 images"),
        (lambda c: [i.update(width=420) for i in c["images"]], "none of the 4 images .* above 420 pixels"),
    ],
)
def test_coco_files_that_are_wrong_are_refused(tmp_path: Path, spoil: Callable[[Any], Any], message: str) -> None:
    content = coco_content()
    spoil(content)
    path = write_json(tmp_path / "captions_val2017.json", content)
    touch(tmp_path, *FILES)
    with pytest.raises(ConfigError, match=message) as caught:
        data.load(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_coco_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "empty.json")
    assert "is not valid JSON" in refusal(tmp_path / "empty.json")
    assert "is no COCO captions file: Expected `object`, got `array`" in refusal(
        write_json(tmp_path / "list.json", [1])
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "not text in UTF-8" in refusal(tmp_path / "picture.png")
