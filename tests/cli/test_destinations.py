"""Where results go: file names of prompts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from renoise.cli.destinations import for_edits, require_image_path, require_inversion_path, slug
from renoise.cli.failures import UsageError
from renoise.errors import ImageError


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A dog, noto style!", "a-dog-noto-style"),
        ("", "empty"),
        ("../../etc/passwd", "etc-passwd"),
        ("snake_case and CamelCase", "snake-case-and-camelcase"),
        ("ein Hündchen", "ein-hündchen"),
        ("一只猫", "一只猫"),
        ("🐱", "empty"),
        ("x" * 90, "x" * 56),
        ("word " * 20, "-".join(["word"] * 11)),
    ],
)
def test_slug(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("suffix", ["png", "safetensors"])
@pytest.mark.parametrize("what", ["pipe", "device", "loop", "read-only"])
def test_what_cannot_be_replaced_is_refused_before_any_work(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to(os.devnull)
    elif what == "loop":
        path.symlink_to(path.name)
    else:
        path.touch(0o444)
    words = {"loop": "symbolic links", "read-only": "it is read-only"}.get(what, "pipe or a device")
    check = require_image_path if suffix == "png" else require_inversion_path
    with pytest.raises(ImageError, match=words):
        check(path)
    if suffix == "png":
        with pytest.raises(ImageError, match=words):
            for_edits(str(path), tmp_path / "cat.png", ["a dog"])
        path.rename(tmp_path / "01-a-dog.png")
        if what == "loop":
            (tmp_path / "out.png").symlink_to("01-a-dog.png")
        with pytest.raises(ImageError):
            for_edits(f"{tmp_path}{os.sep}", tmp_path / "cat.png", ["a dog", "a cat"])


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out.png").symlink_to(tmp_path / "there" / "real.png")
    require_image_path(tmp_path / "out.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone" / "real.png")
    with pytest.raises(ImageError, match="gone cannot be written to"):
        require_image_path(tmp_path / "lost.png")


@pytest.mark.parametrize("output", ["", " ", "\t"])
def test_an_empty_name_is_refused(output: str) -> None:
    with pytest.raises(UsageError, match="-o is empty"):
        for_edits(output, Path("cat.png"), ["a dog"])


def test_folders_that_cannot_be_made_are_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("gone")
    (tmp_path / "file").touch()
    for name in ("loop", "lost", "file", "a\0b"):
        with pytest.raises(ImageError):
            for_edits(f"{tmp_path / name}{os.sep}", Path("cat.png"), ["a dog", "a cat"])
