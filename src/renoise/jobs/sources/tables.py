"""Rows of tables: Parquet files, and data sets that the library `datasets` saved on disk (Arrow files)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from renoise.errors import ConfigError, RenoiseError, reason
from renoise.escaping import shown
from renoise.jobs.columns import Columns
from renoise.jobs.extra import library
from renoise.jobs.places import File, Place
from renoise.jobs.rows import Found, Row, Span
from renoise.reading import parse_json

# As many rows are decoded at a time.
_AT_ONCE = 64
STATE, SPLITS = "state.json", "dataset_dict.json"
_LARGEST_STATE = 32 * 2**20


@dataclass(frozen=True)
class Table:
    """Files of rows, each of which can be read from any row on.

    Attributes:
        place: where they lie.
        names: the files, in the order of their rows.
        columns: which columns hold what.
        kind: "Parquet" or "Arrow".
    """

    place: Place
    names: tuple[str, ...]
    columns: Columns
    kind: str

    @property
    def files(self) -> tuple[File, ...]:
        """The files of which it consists."""
        return tuple(file for file in self.place.files if file.path in self.names)

    def scan(self) -> Iterator[Found]:
        """Yield every row's id and where it lies; without a column of ids all rows are read for it."""
        for name in self.names:
            if self.columns.id is None:
                for number, row in enumerate(self.read(Span(name, 0, -1))):
                    yield Found(row.id, Span(name, number, number + 1))
                continue
            for number, record in self._records(Span(name, 0, -1), [self.columns.id]):
                yield Found(self.columns.id_of(record, self._where(name, number)), Span(name, number, number + 1))

    def read(self, span: Span) -> Iterator[Row]:
        """Yield the rows of a span; a stop of -1 is the file's end."""
        for number, record in self._records(span, self.columns.used):
            yield self.columns.row(record, (self._base or self.place).image, self._where(span.file, number))

    @property
    def _base(self) -> Place | None:
        """The folder from which images are named, where the input is a single file."""
        if self.names != ("",):
            return None
        return Place(self.place.name.rpartition("/")[0] or "/")

    def _where(self, name: str, number: int) -> str:
        return f"{self.place.name}{'/' if name else ''}{name}, row {number},"

    def _records(self, span: Span, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        with _reading(self.place, span.file):
            number = span.start
            batches = _parquet_batches if self.kind == "Parquet" else _arrow_batches
            for batch in batches(self.place, span, columns):
                for record in batch.to_pylist():
                    yield number, record
                    number += 1


def parquet(place: Place, names: list[str], columns: Columns) -> Table:
    """Return the rows of Parquet files.

    Raises:
        ConfigError: if they cannot be read, or lack a column.
    """
    with _reading(place, names[0]), place.open(names[0]) as file:
        schema = library("pyarrow.parquet").ParquetFile(file).schema_arrow
    return Table(place, tuple(names), columns.among(schema.names, place.name), "Parquet")


def saved(place: Place, columns: Columns) -> Table:
    """Return the rows of a data set that `save_to_disk` of `datasets` wrote.

    Raises:
        ConfigError: if it cannot be read, lacks a column, or has several splits.
    """
    if not place.has(STATE):
        splits = sorted({file.path.split("/")[0] for file in place.files if file.path.endswith(f"/{STATE}")})
        if len(splits) != 1:
            listed_splits = ", ".join(f"{place.name.rstrip('/')}/{split}" for split in splits)
            raise ConfigError(
                f"{shown(place.name)} has {len(splits)} splits",
                argument="source",
                remedy=f"give one of {listed_splits}",
            )
        return saved(Place(f"{place.name.rstrip('/')}/{splits[0]}"), columns)
    with _reading(place, STATE), place.open(STATE) as opened:
        state = parse_json(bytes(opened.read(_LARGEST_STATE)), STATE, ConfigError)
    listed = state.get("_data_files") if isinstance(state, dict) else None
    told = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [name for name in told if isinstance(name, str) and place.has(name)]
    if not names or len(names) != len(told):
        raise ConfigError(
            f"{shown(place.name)} is no whole data set: files that its {STATE} names are missing",
            argument="source",
            remedy="save it again with save_to_disk",
        )
    with _reading(place, names[0]), place.open(names[0]) as file:
        schema = library("pyarrow.ipc").open_stream(file).schema
    return Table(place, tuple(names), columns.among(schema.names, place.name), "Arrow")


def _parquet_batches(place: Place, span: Span, columns: list[str]) -> Iterator[Any]:
    """Yield the rows of a span of a Parquet file as record batches; row groups without any of them are not read."""
    with place.open(span.file) as opened:
        file = library("pyarrow.parquet").ParquetFile(opened)
        groups: list[int] = []
        first = skip = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if first + count > span.start and (span.stop < 0 or first < span.stop):
                skip = skip if groups else span.start - first
                groups.append(group)
            first += count
        left = None if span.stop < 0 else span.stop - span.start
        if not groups:
            return
        for batch in file.iter_batches(_AT_ONCE, row_groups=groups, columns=columns):
            yield from _cut(batch, skip, left)
            taken = max(0, len(batch) - skip)
            skip = max(0, skip - len(batch))
            if left is not None:
                left -= taken
                if left <= 0:
                    return


def _arrow_batches(place: Place, span: Span, columns: list[str]) -> Iterator[Any]:
    """Yield the rows of a span of an Arrow stream as record batches."""
    with place.open(span.file) as file:
        skip, left = span.start, None if span.stop < 0 else span.stop - span.start
        for batch in library("pyarrow.ipc").open_stream(file):
            if skip >= len(batch):
                skip -= len(batch)
                continue
            chosen = batch.select(columns)
            taken = len(batch) - skip if left is None else min(left, len(batch) - skip)
            for start in range(skip, skip + taken, _AT_ONCE):
                yield chosen.slice(start, min(_AT_ONCE, skip + taken - start))
            skip = 0
            if left is not None:
                left -= taken
                if left <= 0:
                    return


def _cut(batch: Any, skip: int, left: int | None) -> Iterator[Any]:
    rest = max(0, len(batch) - skip)
    count = rest if left is None else min(rest, left)
    if count > 0:
        yield batch.slice(skip, count)


@contextmanager
def _reading(place: Place, file: str) -> Iterator[None]:
    """Turn what pyarrow raises for damaged files into one error."""
    arrow = library("pyarrow")
    try:
        yield
    except RenoiseError:
        raise
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        name = f"{place.name}/{file}" if file else place.name
        problem = f"{shown(name)} cannot be read: {shown(' '.join(reason(error).split()), 300)}"
        raise ConfigError(problem, argument="source", remedy="it may be damaged or cut short: get it again") from error
