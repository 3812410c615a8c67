from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renoise import StorageError
from renoise.jobs.results import MOST_TRIES, Folder, Result, edit_file, stem_of

RESULT = Result(
    *("row-1", "done", None, "a cat", ("a dog", "a fox"), 8, 0.25, True, 21.5, float("inf"), 2**62, "mini"),
    *(edit_file("row-1", 0), None),
)
FAILED = replace(
    RESULT, id="row-2", status="failed", error="no image", passes=0, residual=None, converged=None, file=None
)


@given(st.text(max_size=300))
def test_whatever_an_id_is_its_files_stay_in_their_folder(id_: str) -> None:
    folder, name = stem_of(id_).split("/")
    assert len(folder) == 2
    assert set(folder) <= set("0123456789abcdef")
    assert 0 < len(name) <= 100
    assert name.isascii()
    assert not name.startswith((".", "-"))
    assert not set(name) & set('/\\\0:*?"<>|\n ')


@given(st.lists(st.text(max_size=20), unique=True))
def test_different_ids_have_different_files(ids: list[str]) -> None:
    files = [edit_file(id_, number) for id_ in ids for number in range(2)]
    assert len(set(files)) == len(files)


def test_an_id_that_is_a_name_of_a_hashed_one_is_hashed_itself() -> None:
    hashed = stem_of("../x").split("/")[1]
    assert stem_of(hashed).split("/")[1] != hashed


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = Folder(tmp_path)
    folder.write_table(3, [RESULT, FAILED])
    assert folder.read_table(3) == [RESULT, FAILED]
    assert folder.done() == [3]
    assert list(folder.columns("id", "status")) == [
        {"id": "row-1", "status": "done"},
        {"id": "row-2", "status": "failed"},
    ]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = Folder(tmp_path)
    folder.write("metrics/block-0000000.parquet", b"no table")
    folder.write("metrics/notes.txt", b"what does not belong there is left alone")
    assert folder.done() == [0]
    with pytest.raises(StorageError, match=r"block-0000000\.parquet is no table of a job"):
        folder.read_table(0)


def test_a_block_that_ends_every_worker_ends_the_job(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for _ in range(MOST_TRIES):
        folder.begin(7)
    with pytest.raises(StorageError, match="block 7 has ended its worker 5 times"):
        folder.begin(7)
    folder.begin(7)
    folder.end(7)
    folder.tidy()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*metrics.*; free space, and give the same command to go on"):
        Folder(tmp_path).write("metrics/block-0000000.parquet", b"")
