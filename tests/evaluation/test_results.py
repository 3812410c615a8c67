"""The file of results: appended to, forgiving where it was cut short, and strict everywhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renoise.errors import StorageError
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.results import Results

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
