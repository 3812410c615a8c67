"""A budget of minutes is spent on learning, not on what comes before the first step."""

from __future__ import annotations

import time

import pytest

from training.common import Clock, Every


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test sets."""
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_clock_stands_until_it_is_started(now: list[float]) -> None:
    clock = Clock(minutes=2, spent=30)
    now[0] += 75
    assert (clock.spent, clock.progress) == (30, 0.25)
    clock.start()
    now[0] += 30
    clock.start()
    assert (clock.running, clock.spent, clock.progress) == (30, 60, 0.5)
    now[0] += 3600
    assert clock.progress == 1


def test_every_so_many_seconds_counts_from_its_first_call(now: list[float]) -> None:
    due = Every(10)
    now[0] += 75
    said = []
    for _ in range(5):
        said.append(due())
        now[0] += 6
    assert said == [False, False, True, False, True]
