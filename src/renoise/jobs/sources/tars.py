"""WebDataset shards: tar files in which files of one name before their first dot are one row."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from renoise.errors import ConfigError, RenoiseError, reason
from renoise.escaping import shown
from renoise.image_files import MAX_BYTES
from renoise.jobs.columns import Columns
from renoise.jobs.places import File, Place
from renoise.jobs.rows import Found, Row, Span
from renoise.reading import MAX_JSON_BYTES, parse_json

KEY = "__key__"
_BLOCK = 512


@dataclass(frozen=True)
class Tars:
    """Shards whose rows are read from any position on.

    Attributes:
        place: where they lie.
        names: the shards, in their order.
        columns: which columns hold what: extensions, keys of a .json file, or the rows' common name.
    """

    place: Place
    names: tuple[str, ...]
    columns: Columns
    kind: str = "WebDataset"

    @property
    def files(self) -> tuple[File, ...]:
        """The files of which it consists."""
        return tuple(file for file in self.place.files if file.path in self.names)

    def scan(self) -> Iterator[Found]:
        """Yield every row's id and where it lies; of rows whose name is their id the headers alone are read."""
        for name in self.names:
            for start, stop, record in _samples(self.place, Span(name, 0, -1), headers=self.columns.id == KEY):
                where = f"{name}, {record[KEY]},"
                row = self.columns
                id_ = row.id_of(record, where) if row.id else row.row(record, self.place.image, where).id
                yield Found(id_, Span(name, start, stop))

    def read(self, span: Span) -> Iterator[Row]:
        """Yield the rows between two positions of a shard."""
        for _, _, record in _samples(self.place, span):
            yield self.columns.row(record, self.place.image, f"{span.file}, {record[KEY]},")


def shards(place: Place, names: list[str], columns: Columns) -> Tars:
    """Return the rows of WebDataset shards; the columns are those of the first row.

    Raises:
        ConfigError: if they cannot be read, or lack a column.
    """
    first = next((record for _, _, record in _samples(place, Span(names[0], 0, -1))), None)
    if first is None:
        raise ConfigError(f"{shown(names[0] or place.name)} holds no files", argument="source", remedy="get it again")
    return Tars(place, tuple(names), columns.among(first, place.name))


def _samples(place: Place, span: Span, *, headers: bool = False) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the rows of a shard between two positions: where each begins and ends, and its files by extension.

    Args:
        place: where the shard lies.
        span: the shard, and the positions; a stop of -1 is its end.
        headers: leave the contents of the files unread.
    """
    with _reading(place, span.file), place.open(span.file) as opened:
        opened.seek(span.start)
        record: dict[str, Any] = {}
        begun = end = span.start
        with tarfile.open(fileobj=opened, mode="r:") as tar:
            while span.stop < 0 or end < span.stop:
                member = tar.next()
                tar.members = []  # type: ignore[attr-defined] # kept, they would take memory for every file
                if member is None:
                    _require_end(opened, end)
                    break
                key, extension = _named(member.name)
                start, end = end, member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if not member.isfile() or not key or not extension:
                    continue
                if record and record[KEY] != key:
                    yield begun, start, record
                    record = {}
                if not record:
                    begun, record = start, {KEY: key}
                if headers:
                    record[extension] = None
                else:
                    _take(record, extension, tar, member)
        if record:
            yield begun, end, record


def _require_end(file: Any, position: int) -> None:
    """Check that an archive ends here: with zeros, which are missing where it was cut short."""
    file.seek(position)
    rest = bytes(file.read(_BLOCK))
    if len(rest) < _BLOCK or any(rest):
        raise tarfile.ReadError(f"it does not end where it should, at byte {position}")


def _named(path: str) -> tuple[str, str]:
    """Return what tells a row's files from others, and the extension: "a/cat.seg.png" is "a/cat" and "seg.png"."""
    folder, _, name = path.rpartition("/")
    stem, _, extension = name.partition(".")
    key = f"{folder}/{stem}" if folder not in ("", ".") else stem
    return (key.removeprefix("./") if stem else ""), extension.lower()


def _take(record: dict[str, Any], extension: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.size > MAX_BYTES:
        record[extension] = None  # the row says that it has no image
        return
    file = tar.extractfile(member)
    data = b"" if file is None else file.read()
    record[extension] = data
    if extension == "json" and len(data) <= MAX_JSON_BYTES:
        with suppress(ConfigError):  # without what it says, the row lacks a caption or a target, and tells so
            content = parse_json(data, member.name, ConfigError)
            if isinstance(content, dict):
                record |= {key: value for key, value in content.items() if key not in record}


@contextmanager
def _reading(place: Place, file: str) -> Iterator[None]:
    try:
        yield
    except RenoiseError:
        raise
    except (tarfile.TarError, OSError, ValueError) as error:
        name = f"{place.name}/{file}" if file else place.name
        problem = f"{shown(name)} is no tar file that can be read: {shown(' '.join(reason(error).split()), 300)}"
        raise ConfigError(
            problem, argument="source", remedy="give uncompressed .tar files; it may be damaged or cut short"
        ) from error
