"""Hostile inputs end in a result or in a RenoiseError of one line: a fixed share of them, which takes about a minute.

`python -m hostile.running AREA` in the folder tests runs all of an area, and prints what is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile import values, worker
from hostile.running import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are those of Linux")

# The share of each area's cases, and the parts that can run side by side. A model takes long to load.
SHARES = {"images": (1.0, 1), "inversions": (0.2, 2), "data_sets": (0.3, 1), "models": (0.04, 2)}
PARTS = [(area, share, part, parts) for area, (share, parts) in SHARES.items() for part in range(parts)]


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize(("area", "share", "part", "parts"), PARTS)
def test_hostile_inputs_end_in_a_result_or_in_one_line(
    area: str, share: float, part: int, parts: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    report = run(area, tmp_path, share, part, parts)
    for ended, count in report.counts.items():
        record_property(f"hostile {area}: {ended}", count)
    assert not report.faults, "\n".join(fault[:300] for fault in report.faults[:100])
    assert min(report.counts["result"], report.counts["refused"]) > 0, "the inputs are not hostile, or all of them fail"


def test_the_worker_notices_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE_SECONDS", "2")
    report = run("faulty", tmp_path)
    assert report.counts == {"result": 1, "refused": 1, "fault": 8}
    found = dict(fault.split(": ", 1) for fault in report.faults)
    for name, sign in {
        "another exception": "KeyError",
        "a dead process": "the process ended with 3",
        "a program": "subprocess.Popen",
        "memory": "MemoryError",
        "controls": "controls in the message",
        "length": "5000 characters",
        "a warning": "a warning: controls",
        "time": "took more than",
    }.items():
        assert sign in found[name], report.faults


def test_values_are_put_in_every_place() -> None:
    document = {"a": [1, {"b": None}], "c": "x"}
    assert list(values.places(document)) == [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)]
    assert values.put(document, ("a", 1, "b"), 5) == {"a": [1, {"b": 5}], "c": "x"}
    assert values.without(document, ("a", 0)) == {"a": [{"b": None}], "c": "x"}
    assert document == {"a": [1, {"b": None}], "c": "x"}
    assert len(values.VALUES) >= 30


def test_the_same_share_is_chosen_every_time() -> None:
    cases: list[worker.Case] = [(f"case {n}", lambda: None) for n in range(1000)]
    chosen = worker.chosen(cases, 0.1)
    assert chosen == worker.chosen(list(reversed(cases)), 0.1)[::-1]
    assert 50 < len(chosen) < 200
    assert worker.chosen(cases, 1.0) == cases
    assert [name for name, _ in worker.chosen(cases, 0.0, ("case 99",))] == [
        "case 99",
        *(f"case 99{n}" for n in range(10)),
    ]
