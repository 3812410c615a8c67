"""One row of a job's input, and where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """An image with what is asked of it.

    Attributes:
        id: tells it from all other rows of the input.
        image: the bytes of its file; None if there are none.
        prompt: what it shows; None if nobody says so.
        targets: what its edits shall show.
        problem: why it cannot be worked on; None if it can.
    """

    id: str
    image: bytes | None
    prompt: str | None
    targets: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Span:
    """Rows that lie beside each other in one file.

    Attributes:
        file: the file, as its source names it.
        start: where the first of them begins: its number in the file, or a position in bytes, as the source counts.
        stop: where the last of them ends.
    """

    file: str
    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """A row that a scan has found: its id, and where it lies."""

    id: str
    span: Span


@dataclass(frozen=True)
class Block:
    """The rows that are worked on together, and whose results stand in one file.

    Attributes:
        number: its place among all blocks, from 0.
        count: the number of its rows.
        spans: where they lie, in order.
    """

    number: int
    count: int
    spans: tuple[Span, ...]


def content_id(*parts: bytes | str | None) -> str:
    """Return an id that is made from what a row holds: 32 hexadecimal digits.

    Examples:
        >>> content_id(b"pixels", "a cat") == content_id(b"pixels", "a cat") != content_id(b"pixels", "a dog")
        True
    """
    digest = hashlib.sha256()
    for part in parts:
        data = b"" if part is None else part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        # Lengths keep two parts from looking like two others; a missing one is none that is empty.
        digest.update(f"{-1 if part is None else len(data)}:".encode() + data)
    return digest.hexdigest()[:32]


def joined(spans: Iterator[Span]) -> tuple[Span, ...]:
    """Return spans with those made one that follow each other in one file.

    Examples:
        >>> joined(iter([Span("a", 0, 1), Span("a", 1, 2), Span("b", 0, 1)]))
        (Span(file='a', start=0, stop=2), Span(file='b', start=0, stop=1))
    """
    found: list[Span] = []
    for span in spans:
        if found and found[-1].file == span.file and found[-1].stop == span.start:
            found[-1] = Span(span.file, found[-1].start, span.stop)
        else:
            found.append(span)
    return tuple(found)
