"""What an engine is."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from renoise.jobs.worker import Report, Task


class Engine(Protocol):
    """Lets workers work on blocks. It is used within its `with` statement, which ends the workers."""

    def open(self) -> AbstractContextManager[None]:
        """Start what it needs, and end it afterwards.

        Raises:
            RenoiseError: if it cannot be started.
        """

    def facts(self) -> dict[str, Any]:
        """Return what the model is, where it works (`Worker.facts`).

        Raises:
            RenoiseError: if it cannot be loaded.
        """

    def run(self, tasks: Sequence[Task], facts: Mapping[str, Any]) -> Generator[Report]:
        """Work on blocks, and yield a report of each as soon as it is done, in any order.

        Args:
            tasks: the blocks.
            facts: what the model must be.

        Raises:
            RenoiseError: if the engine itself fails.
        """
