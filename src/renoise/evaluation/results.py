"""The file `results.jsonl`, to which a run appends its measurements line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from renoise.errors import StorageError, reason
from renoise.evaluation.measurement import Measurement
from renoise.files import locked, require_replaceable
from renoise.reading import read_bytes

RESULTS = "results.jsonl"
# Writing some lines takes milliseconds.
_PATIENCE = 60
# Millions of lines.
MAX_BYTES = 4 * 2**30


class Results:
    """The measurements in a results file.

    Lines are only ever appended, and the last line with a key counts. A last line that was cut short, by a full disk or
    a machine that went down, is ignored, and removed before the next line is written. Processes that write to one file
    wait for each other, so that none removes a line of another; the system ends the wait for a process that died.

    Args:
        path: the file, which need not exist yet.

    Raises:
        StorageError: if the file cannot be read as results, or, by `add`, not be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, Measurement] = {}
        try:
            data = read_bytes(path, MAX_BYTES) if os.path.lexists(path) else b""
        except StorageError as error:
            problem = "".join(map(str, error.problem))
            raise StorageError(f"cannot read results: {problem}", remedy="name another folder") from error
        for number, line in enumerate(_whole(data).split(b"\n")[:-1], start=1):
            try:
                measurement = Measurement.from_line(line)
            except (ValueError, RecursionError) as error:
                raise StorageError(
                    f"line {number} of {path} is no result of renoise evaluate",
                    remedy="remove the line, or name another folder",
                ) from error
            self._lines[measurement.key] = measurement

    def done(self, key: str) -> bool:
        """Return whether this was measured and did not fail."""
        return key in self._lines and self._lines[key].error is None

    def get(self, keys: Iterable[str]) -> list[Measurement]:
        """Return the measurements with these keys, in this order, without those that are missing."""
        return [self._lines[key] for key in keys if key in self._lines]

    def all(self) -> list[Measurement]:
        """Return all measurements in the order in which they were made."""
        return list(self._lines.values())

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Keep measurements, and write those that the file does not hold as they are."""
        lines = {m.key: m.as_line() for m in measurements}
        lines = {key: line for key, line in lines.items() if all(line != m.as_line() for m in self.get([key]))}
        if not lines:
            return
        try:
            require_replaceable(self.path)
            with self.path.open("ab") as file, locked(file, _PATIENCE):
                _mend(self.path)
                file.write("".join(f"{line}\n" for line in lines.values()).encode())
                file.flush()
                os.fsync(file.fileno())
        except TimeoutError as error:
            raise StorageError(
                f"another process has been writing to {self.path} for {_PATIENCE} seconds",
                remedy="end it or name another folder",
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {reason(error)}",
                remedy="free space or name another folder",
            ) from error
        # They are kept as the file gives them back, so that a resumed run says what an uninterrupted one says.
        self._lines |= {key: Measurement.from_line(line) for key, line in lines.items()}


def _mend(path: Path) -> None:
    """Remove a last line that was cut short, in place: another process may have the file open, and waits."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(size - 1)
        if file.read() == b"\n":
            return
        file.seek(0)
        data = file.read()
        whole = _whole(data)
        if len(whole) > size:
            file.write(whole[size:])
        else:
            file.truncate(len(whole))


def _whole(data: bytes) -> bytes:
    """Return a file's lines, each of them ended, without a last one that was cut short."""
    lines, last = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
    if not last:
        return data
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return lines
    return data + b"\n"
