"""One request after the other, each in a thread that can be stopped within one network pass.

Whoever asks iterates over what happens. The work itself runs in a thread, because a generator that waits for the model
could not be told to stop. The work tells of every network pass, and telling raises `Stopped` once it shall end: that is
how a `progress` callable stops an editor.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread

from renoise.errors import RenoiseError
from renoise.web.happenings import Ended, Happening, Pass, Waiting

# How long one looks for news, in seconds, before one looks whether others still come first.
_PATIENCE = 0.5

Tell = Callable[[Happening], None]


class Stopped(Exception):
    """The work was told to end."""


class BusyError(RenoiseError):
    """The queue is full."""


class Turns:
    """A queue of limited length for one model: the requests take turns in the order in which they came.

    Args:
        most: how many may wait while one has its turn.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._line: deque[object] = deque()
        self._moved = Condition()

    def join(self) -> object:
        """Stand at the end of the queue, and return the ticket.

        Raises:
            BusyError: if the queue is full.
        """
        with self._moved:
            if len(self._line) > self._most:
                raise BusyError(
                    f"the queue is full: one request is worked on and {self._most} wait", remedy="try again in a minute"
                )
            ticket = object()
            self._line.append(ticket)
            return ticket

    def leave(self, ticket: object) -> None:
        """Leave the queue, or end the turn."""
        with self._moved:
            if ticket in self._line:
                self._line.remove(ticket)
            self._moved.notify_all()

    def before(self, ticket: object) -> int:
        """Return how many come first: 0 is the turn itself."""
        with self._moved:
            return self._line.index(ticket)

    @contextmanager
    def turn(self, ticket: object, stop: Event) -> Iterator[None]:
        """Wait for the turn, and end it afterwards.

        Raises:
            Stopped: if the request was stopped while it waited.
        """
        try:
            with self._moved:
                while self._line[0] is not ticket and not stop.is_set():
                    self._moved.wait(_PATIENCE)
            if stop.is_set():
                raise Stopped
            yield
        finally:
            self.leave(ticket)


class Job:
    """A request that is worked on.

    Args:
        work: does it; receives what to tell of what happens, which raises `Stopped` once the work shall end.
        turns: the queue of the model. The request stands in it from here on.

    Raises:
        BusyError: if the queue is full.
    """

    def __init__(self, work: Callable[[Tell], None], turns: Turns) -> None:
        self._work = work
        self._turns = turns
        self._stop = Event()
        self._news: SimpleQueue[Happening | BaseException] = SimpleQueue()
        self._passes: dict[str, int] = {}
        self._ticket = turns.join()
        self._thread = Thread(target=self._run, name="renoise-web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the work within one network pass; what is done by then stays."""
        self._stop.set()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the thread to end, and tell whether it did."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def happenings(self) -> Iterator[Happening]:
        """Yield what happens until the work ended; a client that goes away stops it.

        Raises:
            Exception: what the work raised, but for `Stopped`.
        """
        try:
            while True:
                try:
                    news = self._news.get(timeout=_PATIENCE)
                except Empty:
                    # It is told again and again: a client that went away is only noticed when something is told.
                    if before := self._before():
                        yield Waiting(before)
                    continue
                if isinstance(news, BaseException):
                    raise news
                yield news
                if isinstance(news, Ended):
                    return
        finally:
            self.stop()

    def _before(self) -> int:
        try:
            return self._turns.before(self._ticket)
        except ValueError:  # its turn is over
            return 0

    def _tell(self, happening: Happening) -> None:
        if isinstance(happening, Pass):
            self._passes[happening.work] = happening.done
        self._news.put(happening)
        if self._stop.is_set():
            raise Stopped

    def _run(self) -> None:
        started, seconds, stopped = 0.0, 0.0, False
        try:
            try:
                with self._turns.turn(self._ticket, self._stop):
                    started = time.perf_counter()
                    self._work(self._tell)
            except Stopped:
                stopped = True
            if started:
                seconds = time.perf_counter() - started
            self._news.put(Ended(stopped, seconds, sum(self._passes.values())))
        except BaseException as error:
            self._news.put(error)
