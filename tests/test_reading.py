"""Files from outside are read with limits: regular files only, of bounded size, JSON of bounded depth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from renoise.errors import ImageError, ModelError, StorageError
from renoise.reading import MAX_JSON_DEPTH, open_file, parse_json, read_bytes, read_json, read_object, require_file


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": [1, 2.5, null]}', encoding="utf-8-sig")
    assert read_json(file) == {"a": [1, 2.5, None]}
    assert read_object(file) == {"a": [1, 2.5, None]}
    assert require_file(file).st_size == file.stat().st_size


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "device", "loop", "nul", "long"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "nul":
        path = Path("a\0b")
    elif what == "long":
        path = tmp_path / ("x" * 5000)
    for read in (lambda: read_bytes(path, 10, ImageError), lambda: open_file(path, ImageError)):
        with pytest.raises(ImageError):
            read()


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    os.mkfifo(path)
    monkeypatch.setattr("renoise.reading.require_file", lambda path, error: None)
    with pytest.raises(StorageError, match="no longer a regular file"):
        open_file(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageError, match="cannot be opened: Permission denied; check its permissions"):
        open_file(path)


def test_a_file_over_the_limit_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(StorageError, match="larger than the 1,000 bytes"):
        read_bytes(path, 1000)


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(ModelError, match="nested deeper"):
        parse_json(opening * depth + "0" + closing * depth, "it", ModelError)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert parse_json("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH, "it")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"a": NaN', b"nul", b"1" * 5000])
def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(StorageError, match="is no JSON"):
        read_json(path)
    assert read_object(path) == {}
