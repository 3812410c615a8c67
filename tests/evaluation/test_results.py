"""The file of results: appended to, forgiving where it was cut short, and strict everywhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renoise.errors import StorageError
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.results import Results
from renoise.files import locked

Make = Callable[..., Measurement]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def three(make_measurement: Make) -> list[Measurement]:
    return [make_measurement(image=f"{i}.png", psnr=30.0 + i) for i in range(3)]


def test_lines_are_appended(path: Path, three: list[Measurement]) -> None:
    results = Results(path)
    results.add(three[:1])
    first, inode = path.read_bytes(), path.stat().st_ino
    results.add(three[1:])
    assert path.read_bytes().startswith(first)
    assert path.stat().st_ino == inode
    assert path.read_bytes() == "".join(f"{m.as_line()}\n" for m in three).encode()
    assert Results(path).all() == results.all() == three


def test_what_is_there_as_it_is_is_not_written_again(path: Path, three: list[Measurement]) -> None:
    Results(path).add(three)
    before = path.read_bytes()
    Results(path).add(three)
    Results(path).add([])
    assert path.read_bytes() == before


def test_nothing_makes_no_file(path: Path) -> None:
    Results(path).add([])
    assert not path.exists()


def test_the_last_line_with_a_key_counts(path: Path, three: list[Measurement]) -> None:
    failed = replace(three[0], error="NaN", psnr=None)
    results = Results(path)
    results.add([failed, three[1]])
    assert (results.done(failed.key), results.done(three[1].key), results.done("unknown")) == (False, True, False)
    results.add(three)
    assert results.done(failed.key)
    assert len(path.read_bytes().splitlines()) == 4
    assert Results(path).all() == three
    assert Results(path).get([three[2].key, "unknown", three[0].key]) == [three[2], three[0]]


@pytest.mark.parametrize("cut", [1, 2, 10, -1])
def test_a_last_line_that_was_cut_short_is_left_out(path: Path, three: list[Measurement], cut: int) -> None:
    Results(path).add(three)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[2].rstrip(b"\n")[:-1] if cut == -1 else lines[2][:cut]
    path.write_bytes(lines[0] + lines[1] + torn)
    results = Results(path)
    assert results.all() == three[:2]
    # Reading changes nothing.
    assert path.read_bytes().endswith(torn)
    results.add(three[2:])
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("rest", [b"\x00\x00\x00", b"\xff\xfe", b'{"key": "\xc3'])
def test_what_a_power_cut_leaves_at_the_end(path: Path, three: list[Measurement], rest: bytes) -> None:
    Results(path).add(three[:1])
    with path.open("ab") as file:
        file.write(rest)
    results = Results(path)
    results.add(three[1:])
    assert Results(path).all() == three


def test_a_first_line_that_was_cut_short(path: Path, three: list[Measurement]) -> None:
    path.write_bytes(three[0].as_line().encode()[:40])
    results = Results(path)
    assert results.all() == []
    results.add(three)
    assert Results(path).all() == three


def test_a_whole_last_line_without_its_end_is_kept(path: Path, three: list[Measurement]) -> None:
    path.write_text(three[0].as_line())
    results = Results(path)
    assert results.all() == three[:1]
    results.add(three[1:])
    assert Results(path).all() == three


def test_a_line_cut_short_while_the_run_goes_on(path: Path, three: list[Measurement]) -> None:
    results = Results(path)
    results.add(three[:2])
    with path.open("ab") as file:
        file.write(b'{"key": ')
    results.add(three[2:])
    assert Results(path).all() == three


def test_an_empty_file_holds_nothing(path: Path, three: list[Measurement]) -> None:
    path.touch()
    results = Results(path)
    assert results.all() == []
    results.add(three)
    assert Results(path).all() == three


@pytest.mark.parametrize(
    "damaged",
    [
        b"{}",
        b"[]",
        b"",
        b"null",
        b"{",
        b"\xff",
        b'{"key": "a"}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_other_damaged_lines_are_refused(path: Path, three: list[Measurement], damaged: bytes, number: int) -> None:
    lines = [m.as_line().encode() for m in three]
    lines.insert(number - 1, damaged)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises(StorageError, match=rf"line {number} of .* is no result of renoise evaluate; remove the line"):
        Results(path)


@pytest.mark.parametrize(
    "change",
    [
        {"row": "1"},
        {"row": None},
        {"row": 1.0},
        {"row": True},
        {"psnr": "30"},
        {"psnr": [30.0]},
        {"psnr": True},
        {"psnr": float("nan")},
        {"psnr_bound": float("inf")},
        {"seconds": {}},
        {"passes_inversion": 4.5},
        {"num_steps": None},
        {"method": None},
        {"method": 3},
        {"picture": 7},
        {"target": 7},
        {"kind": ["a"]},
        {"error": 1},
        {"settings": []},
        {"versions": "1.0"},
        {"scheduler": None},
        {"index": "0"},
        {"picture_hash": None},
        {"timesteps": 3},
        {"timesteps": ["999"]},
        {"residual_history": [1.0]},
        {"residual_history": [["a"]]},
    ],
)
def test_a_line_with_a_value_of_another_type_is_refused(
    path: Path, make_measurement: Make, change: dict[str, Any]
) -> None:
    line = json.dumps(json.loads(make_measurement().as_line()) | change)
    path.write_text(f"{make_measurement(image='a').as_line()}\n{line}\n")
    with pytest.raises(StorageError, match="line 2 of"):
        Results(path)


def test_a_file_that_cannot_be_written(path: Path, three: list[Measurement], monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(path)
    results.add(three[:1])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot write .*: No space left on device; free space or name another"):
            results.add(three[1:])
    assert not results.done(three[1].key)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        results.add(three[1:])
    with pytest.raises(StorageError, match="cannot read"):
        Results(path)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "loop"])
def test_what_is_no_file_is_not_waited_for(path: Path, what: str) -> None:
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    with pytest.raises(StorageError, match="cannot read results"):
        Results(path)


WRITER = """
import os, sys
from dataclasses import replace
from pathlib import Path
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.results import Results

path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
template = Measurement.from_line(sys.argv[4])
results = Results(path)
for i in range(count):
    results.add([replace(template, key=f"{name}-{i}")])
    if i % 3 == 0:  # as a process does that is killed in the middle of a line
        with open(path, "ab") as file:
            file.write(b'{"key": "torn')
        if i == count - 1:
            os.kill(os.getpid(), 9)
print("done")
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_no_line_is_lost_to_another_process_that_mends_the_end(path: Path, make_measurement: Make) -> None:
    count, template = 40, make_measurement().as_line()
    whole = WRITER.replace("i % 3 == 0", "False")
    children = [
        subprocess.Popen([sys.executable, "-c", whole, str(path), name, str(count), template]) for name in ("a", "b")
    ]
    results = Results(path)
    for i in range(count):
        results.add([make_measurement(key=f"c-{i}")])
        # As a process does that dies in the middle of a line.
        with path.open("ab") as file, locked(file, 60.0):
            file.write(b'{"key": "torn')
        time.sleep(0.02)
    assert [child.wait() for child in children] == [0, 0]
    assert {m.key for m in Results(path).all()} == {f"{name}-{i}" for name in "abc" for i in range(count)}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_that_is_killed_blocks_nobody(path: Path, make_measurement: Make) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(path), "a", "4", make_measurement().as_line()])
    assert done.returncode == -9
    assert path.read_bytes().endswith(b"torn")
    results = Results(path)
    results.add([make_measurement(key="b")])
    assert [m.key for m in Results(path).all()] == ["a-0", "a-1", "a-2", "a-3", "b"]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_process_that_writes_for_ever_is_not_waited_for(
    path: Path, three: list[Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr("renoise.evaluation.results._PATIENCE", 0.05)
    results = Results(path)
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process has been writing"):
            results.add(three)
        assert Results(path).all() == []  # reading waits for nobody
    results.add(three)
    assert Results(path).all() == three


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_is_only_read(path: Path, three: list[Measurement]) -> None:
    Results(path).add(three)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        results = Results(path)
        assert results.all() == three
        with pytest.raises(StorageError, match=r"cannot write .*: it is read-only"):
            results.add([replace(three[0], key="another")])
    finally:
        path.parent.chmod(0o755)
