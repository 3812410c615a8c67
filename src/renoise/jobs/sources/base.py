"""What all formats of an input have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from renoise.jobs.columns import Columns
from renoise.jobs.places import File, Place
from renoise.jobs.rows import Found, Row, Span


class Source(Protocol):
    """An input of a job. It can be sent to another process, and reads there what it is asked for.

    Attributes:
        kind: the format in words.
        place: where it lies.
        columns: which columns hold what, each of them named.
    """

    @property
    def kind(self) -> str:
        """The format in words."""

    @property
    def place(self) -> Place:
        """Where it lies."""

    @property
    def columns(self) -> Columns:
        """Which columns hold what."""

    @property
    def files(self) -> tuple[File, ...]:
        """The files of which it consists."""

    def scan(self) -> Iterator[Found]:
        """Yield every row's id and where it lies, in an order that is always the same.

        Raises:
            ConfigError: if the input cannot be read.
        """

    def read(self, span: Span) -> Iterator[Row]:
        """Yield the rows of a span, in its order.

        Raises:
            ConfigError: if the input cannot be read.
        """
