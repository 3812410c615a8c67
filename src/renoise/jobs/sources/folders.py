"""Folders of images: metadata.jsonl or captions.jsonl, the same as .csv, or a .txt beside each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from renoise.errors import ConfigError
from renoise.escaping import shown
from renoise.images import FORMATS
from renoise.jobs.columns import Columns, inside
from renoise.jobs.places import CHUNK, File, Place
from renoise.jobs.rows import Found, Row, Span
from renoise.reading import parse_json

# Files that say what the images of a folder show, in the order in which they are looked for.
LISTS = ("metadata.jsonl", "captions.jsonl", "metadata.csv", "captions.csv")
IMAGES = (*FORMATS, ".gif")
# A cell of a table holds one text, so that several targets in it need a separator.
SEPARATOR = "|"
_LONGEST_LINE = 2**20
_FILE, _TEXT = "file_name", "text"


@dataclass(frozen=True)
class Listed:
    """A folder whose list of captions is read from any line on.

    Attributes:
        place: the folder.
        name: the list's file.
        columns: which columns hold what.
    """

    place: Place
    name: str
    columns: Columns

    @property
    def kind(self) -> str:
        """The format in words."""
        return f"folder with {self.name}"

    @property
    def files(self) -> tuple[File, ...]:
        """The files of which it consists."""
        return self.place.files

    def scan(self) -> Iterator[Found]:
        """Yield every row's id and where its line lies; without a column of ids all images are read for it."""
        for start, stop, record, where in _records(self.place, Span(self.name, 0, -1)):
            id_ = self.columns.id_of(record, where) if self.columns.id else self._row(record, where).id
            yield Found(id_, Span(self.name, start, stop))

    def read(self, span: Span) -> Iterator[Row]:
        """Yield the rows between two positions of the list."""
        for _, _, record, where in _records(self.place, span):
            yield self._row(record, where)

    def _row(self, record: dict[str, Any], where: str) -> Row:
        return self.columns.row(record, lambda path: self.place.image(inside(path)), where)


@dataclass(frozen=True)
class Texts:
    """A folder in which every image has its caption in a text file of its name.

    Attributes:
        place: the folder.
        columns: what is asked of the rows.
    """

    place: Place
    columns: Columns
    kind: str = "folder with a .txt beside each image"

    @property
    def files(self) -> tuple[File, ...]:
        """The files of which it consists."""
        return self.place.files

    @cached_property
    def _names(self) -> list[str]:
        return self.place.names(*IMAGES)

    @cached_property
    def _captions(self) -> frozenset[str]:
        return frozenset(self.place.names(".txt"))

    def scan(self) -> Iterator[Found]:
        """Yield every image's id and its place among them; the images are read for it."""
        for number in range(len(self._names)):
            span = Span("", number, number + 1)
            for row in self.read(span):
                yield Found(row.id, span)

    def read(self, span: Span) -> Iterator[Row]:
        """Yield the images with these numbers."""
        for name in self._names[span.start : span.stop]:
            caption = str(PurePosixPath(name).with_suffix(".txt"))
            text = None
            if caption in self._captions:
                with self.place.open(caption) as file:
                    text = bytes(file.read(_LONGEST_LINE))
            yield self.columns.row({_FILE: name, _TEXT: text}, self.place.image, name)


def folder(place: Place, columns: Columns) -> Listed | Texts:
    """Return the rows of a folder of images.

    Raises:
        ConfigError: if nothing says what they show, or a column is missing.
    """
    name = next((name for name in LISTS if place.has(name)), None)
    if name is not None:
        first = next((record for _, _, record, _ in _records(place, Span(name, 0, -1))), None)
        if first is None:
            raise ConfigError(f"{shown(place.name)}/{name} has no rows", argument="source", remedy="list the images")
        return Listed(place, name, columns.among(first, f"{place.name}/{name}"))
    if not place.names(*IMAGES) or not (place.names(".txt") or columns.prompt is not None):
        raise ConfigError(
            f"{shown(place.name)} is no input that is known: expected Parquet files, .tar shards, a data set that "
            f"datasets' save_to_disk wrote, or images with {', '.join(LISTS)} or a .txt beside each",
            argument="source",
            remedy="check the path",
        )
    return Texts(place, columns.among((_FILE, _TEXT), place.name))


def _records(place: Place, span: Span) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """Yield the records of a list between two positions, with where each begins and ends and what errors call it."""
    source = f"{place.name.rstrip('/')}/{span.file}"
    with place.open(span.file) as file:
        if span.file.endswith(".csv"):
            yield from _cells(file, span, source)
        else:
            yield from _objects(file, span, source)


def _objects(file: Any, span: Span, source: str) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    file.seek(span.start)
    for start, line in _lines(file, span.start, span.stop, source):
        if not line.strip():
            continue
        where = f"{source}, at byte {start},"
        record = parse_json(line, where, ConfigError)
        if not isinstance(record, dict):
            raise ConfigError(f'{where} is no object such as {{"file_name": ...}}', remedy="correct it")
        yield start, start + len(line), record, where


def _cells(file: Any, span: Span, source: str) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """Yield the records of a table with commas; its header is read first, wherever the span begins."""
    position = 0

    def texts(lines: Iterator[tuple[int, bytes]]) -> Iterator[str]:
        nonlocal position
        for start, line in lines:
            position = start + len(line)
            try:
                yield line.decode("utf-8-sig" if start == 0 else "utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"{source}, at byte {start}, is no UTF-8", remedy="save it as UTF-8") from error

    try:
        file.seek(0)
        header = next(csv.reader(texts(_lines(file, 0, -1, source)), strict=True, skipinitialspace=True), [])
        position = start = max(span.start, position)
        file.seek(start)
        for cells in csv.reader(texts(_lines(file, start, span.stop, source)), strict=True, skipinitialspace=True):
            where, begun, start = f"{source}, at byte {start},", start, position
            if not cells:
                continue
            if len(cells) > len(header):
                raise ConfigError(f"{where} has more columns than the header", remedy="put quotes around text")
            values: dict[str, Any] = dict(zip((name.strip() for name in header), cells, strict=False))
            yield begun, position, {name: _several(value) for name, value in values.items()}, where
    except csv.Error as error:
        raise ConfigError(f"{source}, at byte {position}, is not valid CSV: {error}", remedy="correct it") from error


def _several(cell: str) -> Any:
    return [part for part in cell.split(SEPARATOR) if part.strip()] if SEPARATOR in cell else cell


def _lines(file: Any, start: int, stop: int, source: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines from here on with their positions, with their ends."""
    rest, position = b"", start
    while stop < 0 or position < stop:
        at = rest.find(b"\n")
        if at < 0:
            more = bytes(file.read(CHUNK))
            if more and len(rest) <= _LONGEST_LINE:
                rest += more
                continue
            at = len(rest) - 1
        if at >= _LONGEST_LINE:
            raise ConfigError(
                f"{shown(source)}, at byte {position}, has a line of more than {_LONGEST_LINE:,} bytes",
                remedy="shorten it",
            )
        if not rest:
            return
        line, rest = rest[: at + 1], rest[at + 1 :]
        yield position, line
        position += len(line)
