"""Reading files from outside with care: regular files only, with a limit of size, and JSON with a limit of depth."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from renoise.errors import RenoiseError, StorageError, reason

# Far more than any configuration or index of weights has, and far less than a machine's memory.
MAX_JSON_BYTES = 32 * 2**20
MAX_JSON_DEPTH = 64


def require_file(path: str | os.PathLike[str], error: type[RenoiseError] = StorageError) -> os.stat_result:
    """Check that a path names a regular file, and return its status.

    A pipe without a writer would be waited for, and a device may never end.

    Args:
        path: the file; symbolic links are followed.
        error: the class of the error to raise.

    Raises:
        RenoiseError: of the class `error`, if there is no such file, or it is a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as cause:
        raise error(f"there is no file {path}", remedy="check the path") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path} cannot be opened: {reason(cause)}", remedy="check the path") from cause
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{path} is a directory", remedy="name a file")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path} is a pipe or a device, not a regular file", remedy="save its contents to a file")
    return status


def open_file(path: str | os.PathLike[str], error: type[RenoiseError] = StorageError) -> BinaryIO:
    """Open a regular file to read it.

    Args:
        path: the file; symbolic links are followed.
        error: the class of the error to raise.

    Raises:
        RenoiseError: of the class `error`, if it is no regular file, or cannot be opened.
    """
    require_file(path, error)
    try:
        # Opened without waiting, in case the file has become a pipe since it was looked at.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as cause:
        raise error(f"{path} cannot be opened: {reason(cause)}", remedy="check its permissions") from cause
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise error(f"{path} is no longer a regular file", remedy="save its contents to a file")
    return file


def read_bytes(path: str | os.PathLike[str], limit: int, error: type[RenoiseError] = StorageError) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Args:
        path: the file.
        limit: the most bytes that it may have; a larger one is refused before it is read.
        error: the class of the error to raise.

    Raises:
        RenoiseError: of the class `error`, if it is no regular file, is larger, or cannot be read.
    """
    with open_file(path, error) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            # No more than there is, because room for as much is made at once.
            data = b"" if size > limit else file.read(size + 1)
            if len(data) > size:  # it has grown since, or the system does not tell its size
                data += file.read(limit + 1 - len(data))
        except OSError as cause:
            raise error(f"{path} cannot be read: {reason(cause)}", remedy="check its permissions") from cause
    if max(size, len(data)) > limit:
        raise error(f"{path} is larger than the {limit:,} bytes that are read of such a file")
    return data


def read_json(
    path: str | os.PathLike[str], error: type[RenoiseError] = StorageError, *, limit: int = MAX_JSON_BYTES
) -> Any:
    """Read a JSON file, of limited size and depth.

    Args:
        path: the file.
        error: the class of the error to raise.
        limit: the most bytes that it may have.

    Raises:
        RenoiseError: of the class `error`, if it cannot be read, is too large, or is no JSON that makes sense.
    """
    return parse_json(read_bytes(path, limit, error), str(path), error)


def parse_json(data: bytes | str, name: str, error: type[RenoiseError] = StorageError) -> Any:
    """Parse JSON from outside.

    Args:
        data: the document, in UTF-8 if it is bytes; the caller limits its size.
        name: what it is called in errors.
        error: the class of the error to raise.

    Raises:
        RenoiseError: of the class `error`, if it is no JSON, or is nested deeper than `MAX_JSON_DEPTH`.

    Examples:
        >>> parse_json('{"steps": [1, 2]}', "settings.json")
        {'steps': [1, 2]}
    """
    try:
        content = json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
        too_deep = _deeper(content, MAX_JSON_DEPTH)
    except RecursionError:
        too_deep = True
    except ValueError as cause:  # UnicodeDecodeError among them
        raise error(f"{name} is no JSON: {cause}", remedy="it may be damaged or cut short") from cause
    if too_deep:
        raise error(f"{name} is nested deeper than {MAX_JSON_DEPTH} levels, which no such file is")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is none that can be read."""
    try:
        content = read_json(path)
    except RenoiseError:
        return {}
    return content if isinstance(content, dict) else {}


def _deeper(content: Any, levels: int) -> bool:
    """Tell whether lists and objects are nested deeper than so many levels."""
    layer = [content]
    for _ in range(levels):
        inner = [one for one in layer if isinstance(one, (dict, list))]
        if not inner:
            return False
        layer = [child for one in inner for child in (one.values() if isinstance(one, dict) else one)]
    return any(isinstance(one, (dict, list)) for one in layer)
