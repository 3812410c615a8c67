"""What the user sees on standard error while the work goes on: one progress bar and short notes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from renoise.escaping import shown

if TYPE_CHECKING:
    import rich.progress

    from renoise.progress import Progress

# What stands beside the bar, which shares its line with times and numbers.
_BESIDE_THE_BAR = 60
# A problem and a remedy, each as long as an error has them.
_LONGEST_NOTE = 1250


class Stage:
    """A stage of the work: it counts network passes and moves the bar.

    Args:
        bar: None where there is no terminal.
        description: of the stage.
        note: says something in a separate line.

    Attributes:
        passes: network passes so far.
    """

    def __init__(self, bar: rich.progress.Progress | None, description: str, note: Callable[[str], None]) -> None:
        self.passes = 0
        self._bar = bar
        self._description = shown(description, _BESIDE_THE_BAR)
        self._note = note
        self._tenths = 0
        self._task = None if bar is None else bar.add_task(self._description, total=None, passes="")

    def __call__(self, progress: Progress) -> None:
        """Take note of a network pass; a stage is what the editor takes as `progress`."""
        self.passes = progress.done
        self.advance(progress.done, progress.total, f"{progress.done}/{progress.total} network passes")

    def advance(self, done: int, total: int, text: str) -> None:
        """Move the bar, and say beside it how far the work is."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, passes=shown(text, _BESIDE_THE_BAR))

    def tell(self, done: int, total: int, text: str) -> None:
        """Move the bar or, where there is none, say so about every tenth of the work: it may take hours."""
        self.advance(done, total, text)
        tenths = 10 * done // max(total, 1)
        if self._bar is None and tenths > self._tenths:
            self._tenths = tenths
            self._note(f"{self._description}: {100 * done // total}% ({done}/{total})")

    def close(self) -> None:
        """Bring the bar to its end, as the passes announced are at most as many, and take it away."""
        if self._bar is not None and self._task is not None:
            # Their places in this list are not their numbers: those that are done were taken out.
            total = next(task.total for task in self._bar.tasks if task.id == self._task)
            self._bar.update(self._task, completed=total or 0, refresh=True)
            self._bar.remove_task(self._task)


class Terminal:
    """Standard error of one run of the command; a context manager.

    The bar appears on a terminal only, so that logs and pipes stay clean; the notes appear everywhere.

    Args:
        quiet: show neither.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Self:
        if not self._quiet and _is_terminal():
            self._bar = _make_bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def has_bar(self) -> bool:
        """Whether a bar is shown, which is so on a terminal only."""
        return self._bar is not None

    def note(self, text: str) -> None:
        """Say something in a separate line."""
        line = f"renoise: {shown(' '.join(text.split()), _LONGEST_NOTE)}"
        if self._quiet or sys.stderr is None:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
            return
        with contextlib.suppress(OSError):  # a full disk behind standard error is no reason to end the work
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def stage(self, description: str) -> Iterator[Stage]:
        """Show what is being done, for as long as it is done."""
        stage = Stage(self._bar, description, self.note)
        try:
            yield stage
        finally:
            stage.close()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _make_bar() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[passes]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
