"""Requests take turns, can be stopped at every network pass, and never leave the queue closed behind them."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import pytest

from renoise.web.happenings import Ended, Happening, Pass, Waiting
from renoise.web.worker import BusyError, Job, Tell, Turns


def passes(count: int, work: str = "inverting") -> list[Happening]:
    return [Pass(work, i + 1, count, 1.0, i, count) for i in range(count)]


def waiting_for(go_on: Event) -> Callable[[Tell], None]:
    def work(tell: Tell) -> None:
        go_on.wait(10)

    return work


def test_what_happens_is_told_in_order_and_passes_are_counted() -> None:
    def work(tell: Tell) -> None:
        for one in [*passes(3), *passes(2, "editing")]:
            tell(one)

    *told, end = Job(work, Turns(1)).happenings()
    assert [one.done for one in told if isinstance(one, Pass)] == [1, 2, 3, 1, 2]
    assert isinstance(end, Ended)
    assert (end.stopped, end.passes) == (False, 5)


def test_a_job_that_is_stopped_makes_no_further_pass() -> None:
    made: list[int] = []
    going, go_on = Event(), Event()

    def work(tell: Tell) -> None:
        for number, one in enumerate(passes(10)):
            made.append(number)
            if number == 3:
                going.set()
                go_on.wait(10)
            tell(one)

    job = Job(work, Turns(1))
    assert going.wait(10)
    job.stop()
    go_on.set()
    *_, end = job.happenings()
    assert isinstance(end, Ended)
    assert (end.stopped, end.passes, len(made)) == (True, 4, 4)


def test_a_client_that_goes_away_stops_its_job() -> None:
    def work(tell: Tell) -> None:
        for one in passes(5000):
            time.sleep(0.001)
            tell(one)

    job = Job(work, Turns(1))
    news = job.happenings()
    next(news)
    news.close()  # type: ignore[attr-defined] # a generator is an iterator that can be closed
    assert job.join(10)


def test_errors_reach_whoever_asked_and_the_next_one_has_its_turn() -> None:
    turns = Turns(1)

    def fail(tell: Tell) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(Job(fail, turns).happenings())
    assert [type(one) for one in Job(lambda tell: None, turns).happenings()] == [Ended]


def test_requests_take_turns_and_are_told_how_many_come_first() -> None:
    turns, go_on = Turns(2), Event()
    first = Job(waiting_for(go_on), turns)
    second, third = Job(lambda tell: None, turns), Job(lambda tell: None, turns)
    news = third.happenings()
    assert next(news) == Waiting(2)
    go_on.set()
    assert isinstance(list(news)[-1], Ended)
    assert [isinstance(list(job.happenings())[-1], Ended) for job in (first, second)] == [True, True]


def test_a_client_that_goes_away_while_it_waits_leaves_the_queue() -> None:
    turns, go_on, worked = Turns(1), Event(), Event()
    first, second = Job(waiting_for(go_on), turns), Job(lambda tell: worked.set(), turns)
    news = second.happenings()
    assert [next(news) for _ in range(2)] == [Waiting(1)] * 2  # a server notices only when something is told
    news.close()  # type: ignore[attr-defined] # a generator is an iterator that can be closed
    assert second.join(10)
    third = Job(lambda tell: None, turns)  # there is room again
    go_on.set()
    for job in (first, third):
        list(job.happenings())
    assert not worked.is_set()


def test_a_full_queue_refuses_in_a_sentence() -> None:
    turns, go_on = Turns(1), Event()
    held = [Job(waiting_for(go_on), turns) for _ in range(2)]
    with pytest.raises(BusyError, match="the queue is full: one request is worked on and 1 wait; try again"):
        Job(lambda tell: None, turns)
    go_on.set()
    for job in held:
        list(job.happenings())
    assert isinstance(list(Job(lambda tell: None, turns).happenings())[-1], Ended)


def test_a_request_that_is_stopped_while_it_waits_leaves_the_queue_without_work() -> None:
    turns, go_on, worked = Turns(1), Event(), Event()
    first = Job(waiting_for(go_on), turns)
    second = Job(lambda tell: worked.set(), turns)
    second.stop()
    (end,) = [one for one in second.happenings() if isinstance(one, Ended)]
    assert (end.stopped, worked.is_set()) == (True, False)
    go_on.set()
    list(first.happenings())
