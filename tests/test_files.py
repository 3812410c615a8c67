"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from renoise.errors import StorageError
from renoise.files import as_path, write_atomically


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    for data in (b"first", b"second"):
        write_atomically(target, data)
        assert target.read_bytes() == data
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_there_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    write_atomically(target, b"before")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"after")
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.bin"
    link.symlink_to(tmp_path / "there" / "real.bin")
    write_atomically(link, b"data")
    assert link.is_symlink()
    assert (tmp_path / "there" / "real.bin").read_bytes() == b"data"


def test_permissions_are_the_ordinary_ones(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("path", ["a/b.png", Path("a/b.png")])
def test_a_path_is_text_or_a_path(path: str | Path) -> None:
    assert as_path(path, StorageError) == Path("a/b.png")


@pytest.mark.parametrize("path", [None, 3, b"a.png", ["a"], Path])
def test_other_things_are_no_paths(path: object) -> None:
    with pytest.raises(StorageError, match=r"a path must be a string or a pathlib\.Path, not "):
        as_path(path, StorageError)
