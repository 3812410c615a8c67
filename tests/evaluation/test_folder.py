"""Where images lie in the folder of a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renoise.errors import StorageError
from renoise.evaluation.folder import Role, image_path, usable
from renoise.evaluation.measurement import Measurement

Make = Callable[..., Measurement]
ROLES: tuple[Role, ...] = ("drawn", "picture", "round-trip")


def test_examples_of_like_names_never_share_a_image(tmp_path: Path, make_measurement: Make) -> None:
    names = (
        "a.png",
        "a.jpg",
        "a/b.png",
        "a_b.png",
        "a b.png",
        "ä.png",
        "ö.png",
        "x" * 300,
        "x" * 301,
        "..",
        "a.picture",
    )
    measured = [make_measurement(image=name) for name in names]
    paths = [image_path(tmp_path, m, kind) for m in measured for kind in ROLES]
    assert len({str(path).lower() for path in paths}) == len(paths)
    for path in paths:
        assert path.parent == tmp_path / "pictures"
        assert len(path.name.encode()) < 150
    assert image_path(tmp_path, measured[0]).name.startswith("a-")
    assert image_path(tmp_path, measured[0], "round-trip").name.startswith("a-round-trip-")


@pytest.mark.parametrize(
    "changes",
    [{"run": "table1"}, {"label": "another"}, {"settings": {"seed": 8}}, {"model_hash": "x"}, {"dtype": "float16"}],
)
def test_other_runs_rows_seeds_and_models_have_other_images(
    tmp_path: Path, make_measurement: Make, changes: dict[str, Any]
) -> None:
    one, other = make_measurement(), make_measurement(**changes)
    assert image_path(tmp_path, one) != image_path(tmp_path, other)
    # The image itself is the same whatever is made of it; its round trip is the model's.
    same = "model_hash" not in changes and "dtype" not in changes
    assert (image_path(tmp_path, one, "round-trip") == image_path(tmp_path, other, "round-trip")) is same


def test_targets_that_begin_alike_have_images_of_their_own(tmp_path: Path, make_measurement: Make) -> None:
    long = "a very long prompt that goes on and on and on, "
    measured = [make_measurement(image="a/b.png", target=long + end) for end in ("red", "blue", "?*:<>", "")]
    paths = {image_path(tmp_path, m) for m in (*measured, make_measurement(image="a/b.png"))}
    assert len(paths) == 5
    assert all(len(path.name) < 80 and path.parent == tmp_path / "pictures" for path in paths)


@pytest.mark.parametrize("name", ["plots", "pictures"])
@pytest.mark.parametrize("what", ["file", "link to nowhere"])
def test_what_is_no_folder_where_a_folder_goes_is_refused(tmp_path: Path, name: str, what: str) -> None:
    if what == "file":
        (tmp_path / name).write_bytes(b"mine")
    else:
        (tmp_path / name).symlink_to("gone")
    with pytest.raises(StorageError, match=f"{name} is no folder"), usable(tmp_path):
        pytest.fail("it was held to be usable")


@pytest.mark.parametrize("name", ["plots", "pictures"])
def test_folders_that_cannot_be_written_to_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    real = tempfile.TemporaryFile

    def denied(*, dir: Path) -> Any:
        if dir == tmp_path / name:
            raise PermissionError(13, "Permission denied")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    with pytest.raises(StorageError, match=f"{name} cannot be written to: Permission denied"), usable(tmp_path):
        pytest.fail("it was held to be usable")


@pytest.mark.skipif(os.name != "posix", reason="pipes and permissions of POSIX")
@pytest.mark.parametrize("name", ["summary.csv", "summary.md", "report.html", "results.jsonl"])
@pytest.mark.parametrize("what", ["pipe", "folder", "read-only", "loop"])
def test_what_cannot_be_replaced_is_refused_beforehand(tmp_path: Path, name: str, what: str) -> None:
    if what == "pipe":
        os.mkfifo(tmp_path / name)
    elif what == "folder":
        (tmp_path / name).mkdir()
    elif what == "loop":
        (tmp_path / name).symlink_to(name)
    else:
        (tmp_path / name).touch(0o444)
    with pytest.raises(StorageError, match=f"{name} cannot be written"), usable(tmp_path):
        pytest.fail("it was held to be usable")
