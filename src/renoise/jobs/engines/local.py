"""The engine that needs nothing: one worker in this process."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from renoise.jobs.settings import JobSettings
from renoise.jobs.sources import Source
from renoise.jobs.worker import Report, Task, Worker


class LocalEngine:
    """Works on one block after the other in this process.

    Args:
        source: the input.
        settings: the job's.
        folder: the job's.
    """

    def __init__(self, source: Source, settings: JobSettings, folder: str) -> None:
        self._worker = Worker(source, settings, folder)

    def open(self) -> AbstractContextManager[None]:
        """Start nothing."""
        return nullcontext()

    def facts(self) -> dict[str, Any]:
        """Return what the model is, which is loaded for it and stays so."""
        return self._worker.facts()

    def run(self, tasks: Sequence[Task], facts: Mapping[str, Any]) -> Generator[Report]:
        """Work on blocks, and yield a report of each."""
        self._worker.expect(facts)
        for task in tasks:
            yield self._worker.work(task)
