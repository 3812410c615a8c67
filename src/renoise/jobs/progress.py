"""How far a job is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class JobProgress:
    """The state of a job after a block.

    Attributes:
        done: the rows that are worked on, failed ones among them, earlier runs included.
        total: all rows.
        failed: the failed rows among `done`.
        passes: the network passes of this run.
        worked: the rows of this run.
        seconds: since its first block began.
        remarks: what the library warned of, that was not told before.
    """

    done: int
    total: int
    failed: int
    passes: int
    worked: int
    seconds: float
    remarks: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Images a second in this run."""
        return self.worked / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def left(self) -> float | None:
        """The seconds that are left at this rate; None while it is not known."""
        return (self.total - self.done) / self.rate if self.rate > 0.0 else None

    def line(self) -> str:
        """Return it as one line.

        Examples:
            >>> JobProgress(done=480, total=1000, failed=2, passes=5760, worked=480, seconds=60.0).line()
            '480/1000 images, 8.00 images/s, 5760 passes, 2 failed, 1 min 5 s left'
        """
        left = "" if self.left is None else f", {spoken(self.left)} left"
        return (
            f"{self.done}/{self.total} images, {self.rate:.2f} images/s, {self.passes} passes, "
            f"{self.failed} failed{left}"
        )


Callback = Callable[[JobProgress], None]


def spoken(seconds: float) -> str:
    """Return a duration as people say it.

    Examples:
        >>> spoken(12.3), spoken(65), spoken(7300), spoken(200_000)
        ('12 s', '1 min 5 s', '2 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    for large, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // part} {small}"
    return f"{whole} s"
