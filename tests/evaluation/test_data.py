"""Data sets of every form come in right, and what is not one is refused in one line that says what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renoise.errors import ConfigError
from renoise.evaluation import data
from renoise.evaluation.data.pie_bench import decode_mask


def touch(folder: Path, *names: str) -> None:
    """Files of those names; they stay empty, because loading a data set opens no images."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def refusal(source: Any, **options: Any) -> str:
    """The message with which `source` is refused."""
    with pytest.raises(ConfigError) as caught:
        data.load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_bundled_pictures() -> None:
    pytest.importorskip("renoise_mini")
    examples = data.load("mini-heldout")
    assert len(examples) == 96
    first = examples[0]
    assert first.name == "00-red-question-mark.png"
    assert first.prompt == "a red question mark, twemoji style, on a black background"
    assert len(first.targets) == 3
    assert (first.mask, first.kind) == (None, None)
    assert isinstance(first.picture, Path)
    assert first.picture.is_file()
    assert data.load("mini-heldout", limit=5) == examples[:5]


def test_bundled_pictures_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "renoise_mini", None)
    assert "pip install 'renoise[mini]'" in refusal("mini-heldout")


@pytest.mark.parametrize("file", ["file", "file_name", "image"])
@pytest.mark.parametrize("caption", ["caption", "prompt", "text"])
def test_captions_in_json_lines(tmp_path: Path, file: str, caption: str) -> None:
    touch(tmp_path, "b.png", "sub/a.jpg")
    lines = [
        json.dumps({file: "b.png", caption: " a  bee\n", "edits": ["a wasp", "a fly"]}),
        "",
        json.dumps({file: "sub/a.jpg", caption: "an\u2028äpfel", "targets": "a pear"}, ensure_ascii=False),
    ]
    (tmp_path / "captions.jsonl").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert data.load(tmp_path) == [
        data.Example("b.png", tmp_path / "b.png", "a bee", ("a wasp", "a fly")),
        data.Example("sub/a.jpg", tmp_path / "sub/a.jpg", "an äpfel", ("a pear",)),
    ]


def test_captions_in_csv(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    text = 'file_name, text, edits\r\na.png,"a lion, asleep","a tiger, asleep|a cat"\r\nb.png,a bee,\r\n\r\n'
    (tmp_path / "captions.csv").write_bytes(text.encode("utf-8-sig"))
    assert data.load(str(tmp_path)) == [
        data.Example("a.png", tmp_path / "a.png", "a lion, asleep", ("a tiger, asleep", "a cat")),
        data.Example("b.png", tmp_path / "b.png", "a bee"),
    ]


def test_a_text_beside_each_picture(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG", "._a.JPG", "notes.md")
    (tmp_path / "a.txt").write_text("an\napple\n")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfa bee")
    assert [(e.name, e.prompt) for e in data.load(tmp_path)] == [("a.JPG", "an apple"), ("b.png", "a bee")]


def test_a_limit_takes_the_first_and_needs_no_more(tmp_path: Path) -> None:
    touch(tmp_path, "z.png", "y.png")
    lines = ['{"file": "z.png", "caption": "z"}', '{"file": "gone.png", "caption": "y"}', "not JSON"]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    assert [e.name for e in data.load(tmp_path, limit=1)] == ["z.png"]
    assert "1 image is missing of the 2" in refusal(tmp_path, limit=2)
    assert "line 3" in refusal(tmp_path)
    texts = tmp_path / "texts"
    touch(texts, "a.png", "b.png")
    (texts / "a.txt").write_text("a")
    assert [e.name for e in data.load(texts, limit=1)] == ["a.png"]


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
def test_limits_that_are_none_are_refused(tmp_path: Path, limit: Any) -> None:
    assert "at least 1" in refusal(tmp_path, limit=limit)


GOOD = '{"file": "a.png", "caption": "a"}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1, is not valid JSON.*column 2"),
        ([GOOD, "", "nonsense"], "line 3, is not valid JSON"),
        (["[1]"], r'line 1, must be an object like \{"file"'),
        (["[" * 100_000], "line 1, is not usable JSON"),
        (['{"file": "a.png", "file": "b.png", "caption": "a"}'], "key 'file' occurs more than once"),
        (['{"caption": "a"}'], "line 1, needs one of file, file_name, image, and has caption"),
        (['{"file": "a.png", "caption": null}'], "needs one of caption, prompt, text, and has file"),
        (['{"file": "a.png", "caption": "  "}'], "line 1, the caption must be text that is not blank"),
        (['{"file": "a.png", "caption": 7}'], "must be text"),
        (['{"file": 7, "caption": "a"}'], "must name the image's file"),
        (['{"file": "", "caption": "a"}'], "must name the image's file"),
        (['{"file": "a.png", "caption": "a", "edits": 7}'], "edits must be a list"),
        (['{"file": "a.png", "caption": "a", "edits": ["b", ""]}'], "an edit must be text"),
        ([GOOD, GOOD], "names 'a.png' 2 times"),
        ([GOOD, '{"file": "gone.png", "caption": "a"}'], "1 image is missing of the 2 .*gone.png"),
        ([GOOD, f'{{"file": "{"x" * 5000}.png", "caption": "a"}}'], "1 image is missing"),
        ([], "holds no images"),
    ],
)
def test_json_lines_that_are_wrong_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=message):
        data.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,caption\na.png,a\na.png,b,c\n", "line 3, has more columns than the header; put quotes"),
        ("file,caption\na.png\n", "line 2, needs one of caption"),
        ("file,caption\na.png,\n", "line 2, the caption must be text"),
        ("name,caption\na.png,a\n", "line 2, needs one of file, file_name, image, and has name, caption"),
        ('file,caption\na.png,"a\nb.png,b\nc.png,c\n', "line 2, is not valid CSV"),
        ("file,caption\n", "holds no images"),
        ("", "holds no images"),
    ],
)
def test_csv_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        data.load(tmp_path)


def test_captions_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_bytes("file,caption\na.png,Äpfel".encode("latin-1"))
    assert "not text in UTF-8" in refusal(tmp_path)


def test_folders_without_captions_are_refused(tmp_path: Path) -> None:
    assert "has no captions: expected captions.jsonl" in refusal(tmp_path)
    touch(tmp_path, "a.png", "b.png")
    assert "has no captions: expected captions.jsonl" in refusal(tmp_path)
    (tmp_path / "b.txt").write_text("b")
    assert "a.png has no caption: expected it in a.txt" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text("\n")
    assert "must be text that is not blank" in refusal(tmp_path)


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
        (None, "must be 'mini-heldout', a folder"),
        (7, "must be 'mini-heldout', a folder"),
        ("", "must be 'mini-heldout', a folder"),
        ("x" * 5000, "no usable path"),
        ("x\0y", "no"),
    ],
)
def test_sources_that_are_no_names_are_refused(source: Any, message: str) -> None:
    assert message in refusal(source)


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


FILES = [f"{i:012d}.jpg" for i in (2, 5, 9)]


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
    assert [e.picture for e in examples] == [tmp_path / pictures / name for name in FILES]
    assert data.load(path, limit=2) == examples[:2]


def test_coco_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "annotations").mkdir()
    write_json(tmp_path / "annotations/captions_val2017.json", coco_content())
    touch(tmp_path / "val2017", *FILES)
    monkeypatch.chdir(tmp_path / "annotations")
    assert len(data.load("captions_val2017.json")) == 3


def test_coco_pictures_that_are_missing(tmp_path: Path) -> None:
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
        (lambda c: c.pop("images"), "expected an object with lists"),
        (lambda c: c.update(annotations={}), "expected an object with lists"),
        (without_caption, r"annotations\[0\]: expected 'caption' of type str, not None"),
        (lambda c: c["images"][1].update(id="2"), r"images\[1\]: expected 'id' of type int, not '2'"),
        (lambda c: c["images"][1].update(height=True), "expected 'height' of type int"),
        (lambda c: c["images"].append(7), r"images\[4\]: expected 'id'"),
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
    assert "expected an object with lists" in refusal(write_json(tmp_path / "list.json", [1]))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "not text in UTF-8" in refusal(tmp_path / "picture.png")


KINDS = [
    "random",
    "change object",
    "add object",
    "delete object",
    "change attribute content",
    "change attribute pose",
    "change attribute color",
    "change attribute material",
    "change background",
    "change style",
]


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "image_path": "0_random/a.jpg",
        "original_prompt": "a slanted  mountain bicycle",
        "editing_prompt": "a slanted [rusty] mountain [bicycle ]",
        "editing_instruction": "make it rusty",
        "editing_type_id": "0",
        "blended_word": "bicycle bicycle",
        "mask": [513, 2],
        **changes,
    }


def test_pie_bench(tmp_path: Path) -> None:
    mapping = {f"{9 - n}": entry(editing_type_id=str(n), image_path=f"{n}_x/{n}.jpg") for n in range(10)}
    write_json(tmp_path / "mapping_file.json", mapping)
    touch(tmp_path / "annotation_images", *(f"{n}_x/{n}.jpg" for n in range(10)))
    examples = data.load(tmp_path)
    assert [e.name for e in examples] == [str(n) for n in range(9, -1, -1)]
    assert [e.kind for e in examples] == KINDS
    first = examples[0]
    assert first.picture == tmp_path / "annotation_images/0_x/0.jpg"
    assert first.prompt == "a slanted mountain bicycle"
    assert first.targets == ("a slanted rusty mountain bicycle",)
    assert first.mask is not None
    assert first.mask.shape == (512, 512)
    assert first.mask.dtype == bool
    assert data.load(tmp_path, limit=3) == examples[:3]


def test_a_mask_is_its_runs_in_row_order_and_the_border() -> None:
    mask = decode_mask([512 * 100 + 510, 4, 512 * 200, 1024], "the mask")
    expected = np.zeros((512, 512), dtype=bool)
    expected[100, 510:] = expected[101, :2] = True
    expected[200:202] = True
    assert np.array_equal(mask[1:-1, 1:-1], expected[1:-1, 1:-1])
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert edge.all()


def test_masks_of_nothing_and_of_everything() -> None:
    assert int(decode_mask([], "the mask").sum()) == 4 * 511
    assert decode_mask([0, 512 * 512], "the mask").all()
    assert decode_mask([512 * 511 - 1, 10**6], "the mask").sum() == decode_mask([512 * 511 - 1, 1], "the mask").sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": [0, 1, 2]}, "entry '7', the mask must be pairs of start and length, and has 3 numbers"),
        ({"mask": [512 * 512, 2]}, "entry '7', the mask has a run from 262144 of length 2, beyond"),
        ({"mask": [10**30, 1]}, "beyond the 512 x 512 pixels"),
        ({"mask": [-1, 2]}, "entry '7', the mask must be a list of whole numbers"),
        ({"mask": [0.5, 2]}, "must be a list of whole numbers"),
        ({"mask": [True, 2]}, "must be a list of whole numbers"),
        ({"mask": "0 2"}, "must be a list of whole numbers"),
        ({"mask": None}, "must be a list of whole numbers"),
        ({"editing_type_id": "10"}, "'editing_type_id' must be 0 to 9, not '10'"),
        ({"editing_type_id": None}, "'editing_type_id' must be 0 to 9, not None"),
        ({"original_prompt": None}, "entry '7', 'original_prompt' must be text"),
        ({"editing_prompt": "[]"}, "entry '7', 'editing_prompt' must be text"),
        ({"image_path": 3}, "must name its file in 'image_path'"),
    ],
)
def test_pie_bench_entries_that_are_wrong_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_json(tmp_path / "mapping_file.json", {"6": entry(image_path="b.jpg"), "7": entry(**changes)})
    touch(tmp_path / "annotation_images", "0_random/a.jpg", "b.jpg")
    assert message in refusal(tmp_path)
    assert len(data.load(tmp_path, limit=1)) == 1


def test_pie_bench_that_is_wrong_as_a_whole_is_refused(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping_file.json"
    write_json(mapping, {"1": entry()})
    message = refusal(tmp_path)
    assert "1 image is missing" in message
    assert "https://github.com/cure-lab/PnPInversion" in message
    write_json(mapping, [entry()])
    assert "must hold an object of entries by id" in refusal(tmp_path)
    write_json(mapping, {"1": 7})
    assert "entry '1' must be an object" in refusal(tmp_path)
    write_json(mapping, {})
    assert "holds no images" in refusal(tmp_path)
    mapping.write_text('{"1": {},\n"1": {}}')
    assert "the key '1' occurs more than once" in refusal(tmp_path)
    mapping.write_text('{"1":\n}')
    assert "at line 2, column 1" in refusal(tmp_path)


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
        assert examples[1].picture is rows[1][image]
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
