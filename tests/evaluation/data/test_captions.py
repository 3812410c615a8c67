"""A folder with captions: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_sets import refusal, touch
from renoise.errors import ConfigError
from renoise.evaluation import data

GOOD = '{"file": "a.png", "caption": "a"}'


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


def test_a_text_beside_each_image(tmp_path: Path) -> None:
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
