"""The rows of an input, divided into blocks: always the same ones, whatever is done of them and wherever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from renoise.errors import ConfigError, StorageError
from renoise.escaping import shown
from renoise.jobs.results import stem_of
from renoise.jobs.rows import Block, Found, Span, joined
from renoise.jobs.sources import Source

# As many ids as an error lists.
_LISTED = 10


@dataclass(frozen=True)
class Index:
    """What a scan of an input has found.

    Attributes:
        rows: how many rows there are.
        blocks: the blocks that they make.
        ids: a hash of all ids in their order.
    """

    rows: int
    blocks: tuple[Block, ...]
    ids: str

    def to_lines(self) -> bytes:
        """Return the blocks as lines of JSON."""
        lines = ([block.count, *([span.file, span.start, span.stop] for span in block.spans)] for block in self.blocks)
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def index(source: Source, rows_per_block: int) -> Index:
    """Scan an input: number its rows, divide them into blocks, and find ids that are there twice.

    Raises:
        ConfigError: if the input cannot be read, has no rows, or has an id twice.
    """
    digest, seen = hashlib.sha256(), set[str]()
    doubled: dict[str, None] = {}
    times = 0

    def checked() -> Iterator[Found]:
        nonlocal times
        for found in source.scan():
            # Two ids that differ in case alone could be one file, on systems that do not tell them apart.
            stem = stem_of(found.id).lower()
            if stem in seen:
                times += 1
                if len(doubled) < _LISTED:
                    doubled[found.id] = None
            seen.add(stem)
            digest.update(f"{found.id}\n".encode("utf-8", "surrogatepass"))
            yield found

    blocks: list[Block] = []
    rows, scan = 0, checked()
    while group := list(islice(scan, rows_per_block)):
        blocks.append(Block(len(blocks), len(group), joined(one.span for one in group)))
        rows += len(group)
    if not rows:
        raise ConfigError(f"{shown(source.place.name)} has no rows", argument="source", remedy="check the path")
    if times:
        listed = ", ".join(shown(id_, 80) for id_ in doubled)
        more = " ..." if times > len(doubled) else ""
        made = " (ids are made from the image, its caption and its targets)" if source.columns.id is None else ""
        raise ConfigError(
            f"{times} of the {rows} rows have the id of a row before them: {listed}{more}{made}",
            argument="id_column",
            remedy="take the doubled rows out, or name a column of ids",
        )
    return Index(rows, tuple(blocks), digest.hexdigest()[:32])


def read_blocks(lines: Sequence[Any]) -> tuple[Block, ...]:
    """Return the blocks that `Index.to_lines` wrote.

    Raises:
        StorageError: if they are none.
    """
    blocks = []
    for number, line in enumerate(lines):
        try:
            count, *spans = line
            blocks.append(Block(number, int(count), tuple(Span(str(f), int(a), int(b)) for f, a, b in spans)))
        except (TypeError, ValueError) as error:
            raise StorageError(f"block {number} of the job makes no sense", remedy="name another folder") from error
    return tuple(blocks)
