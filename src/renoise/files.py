"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from renoise.errors import RenoiseError
from renoise.escaping import seen


def as_path(path: Any, error: type[RenoiseError]) -> Path:
    """Return a path that was given as text or as an object that stands for a path.

    Raises:
        RenoiseError: of the class `error`, if it is none.
    """
    try:
        text = os.fspath(path)
    except Exception as cause:  # whatever the object's own method raises
        raise error(f"a path must be a string or a pathlib.Path, not {seen(path)}") from cause
    if not isinstance(text, str):
        raise error(f"a path must be a string or a pathlib.Path, not {seen(path)}", remedy="decode it with os.fsdecode")
    return Path(text)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and move it into place, so that no reader ever meets half a file.

    A symbolic link stays one: what it points to is replaced.

    Raises:
        OSError: if the folder cannot be written to; `path` is then as it was.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    # Opened by hand: the usual temporary files are private, and a result should have ordinary permissions.
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
