"""Writing a file whole or not at all, in place of a regular file only, with the permissions that it had."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from renoise.errors import RenoiseError
from renoise.escaping import seen

try:
    import fcntl
except ImportError:  # on Windows, where an open file cannot be removed, so that no lock is needed
    fcntl = None  # type: ignore[assignment]

_EFFECTIVE = os.access in os.supports_effective_ids
_PREFIX, _SUFFIX = ".renoise-", ".part"


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

    A symbolic link stays one: what it points to is replaced. A file that is replaced keeps its permissions and, where
    the system lets it, its owner. The data are on the disk before the name is, so that a power cut does no harm either.
    What an earlier process left half-written in the folder when it was killed is removed.

    Raises:
        OSError: if `path` cannot be replaced (`require_replaceable`), or the folder cannot be written to; `path` is
            then as it was.
    """
    before = require_replaceable(path)
    target = Path(os.path.realpath(path))
    _remove_leftovers(target.parent)
    part, handle = _new_part(target.parent, 0o666 if before is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if before is not None:
                _keep_permissions(file.fileno(), before)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                # Moved while it is locked, so that no other process takes it for a leftover.
                os.replace(part, target)
        if fcntl is None:
            os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(file: IO[bytes], patience: float) -> Iterator[None]:
    """Hold the system's lock on an open file, which ends with the process that has it, however it ends.

    Args:
        file: what is locked for as long as it is held.
        patience: how many seconds to wait for another process.

    Raises:
        TimeoutError: if another process holds it for longer.
    """
    if fcntl is None:
        with FileLock(f"{file.name}.lock", timeout=patience):  # it raises a TimeoutError, too
            yield
        return
    begun = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() - begun > patience:
                raise TimeoutError(f"{file.name} is held by another process") from None
            time.sleep(0.01)
        except OSError:  # a file system without locks
            break
    try:
        yield
    finally:
        file.flush()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def require_replaceable(path: Path) -> os.stat_result | None:
    """Check that a file can be written to `path`: there is none yet, or a regular file that its user may write.

    The superuser, who may write everything, is held to the permissions of the file: one that nobody may write was
    made read-only on purpose.

    Returns:
        The status of the file that is there; None if there is none.

    Raises:
        OSError: if it cannot.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", str(path))
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK, effective_ids=_EFFECTIVE):
        raise PermissionError(errno.EACCES, "it is read-only", str(path))
    if _is_held_by_its_owner(path, status):
        raise PermissionError(
            errno.EPERM, "it is another user's, in a folder where only its owner may replace it", str(path)
        )
    return status


def _is_held_by_its_owner(path: Path, status: os.stat_result) -> bool:
    """Tell whether a file lies in a folder such as /tmp, where everybody may write and only the owner may replace."""
    if not hasattr(os, "geteuid") or os.geteuid() in (0, status.st_uid):
        return False
    folder = os.stat(os.path.dirname(os.path.realpath(path)))
    return bool(folder.st_mode & stat.S_ISVTX) and folder.st_uid != os.geteuid()


def _new_part(folder: Path, mode: int) -> tuple[Path, int]:
    """Make a file to write to, locked for as long as it is open."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        # Opened by hand: the usual temporary files are private, and a new result should have ordinary permissions.
        handle = os.open(part, flags, mode)
        if fcntl is None:
            return part, handle
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if part.exists():
            return part, handle
        # Another process has taken it for a leftover before it was locked.
        os.close(handle)


def _keep_permissions(handle: int, before: os.stat_result) -> None:
    if hasattr(os, "fchown"):
        with suppress(OSError):  # only the superuser can give a file to somebody else
            os.fchown(handle, before.st_uid, before.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(handle, stat.S_IMODE(before.st_mode) & 0o777)


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove half-written files of processes that are gone: those that no process has locked. It is done once."""
    try:
        leftovers = [entry.path for entry in os.scandir(folder) if _is_leftover(entry)]
    except OSError:  # the folder cannot be listed, which is no reason not to write to it
        return
    for path in leftovers:
        with suppress(OSError):
            _remove_unlocked(path)


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    ours = entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX)
    return ours and entry.is_file(follow_symlinks=False)


def _remove_unlocked(path: str) -> None:
    if fcntl is None:
        os.unlink(path)
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)
