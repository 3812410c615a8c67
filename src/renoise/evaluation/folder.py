"""The folder of a run: made before any work is done for it, and where in it each image lies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from renoise.errors import StorageError, reason
from renoise.evaluation.measurement import Measurement, key_of
from renoise.files import require_replaceable

# What an image file shows: the drawn image, the image of the data set, or its round trip through the autoencoder. The
# words stand in file names.
Role = Literal["drawn", "picture", "round-trip"]

PICTURES, PLOTS = FOLDERS = ("pictures", "plots")
# What a run writes beside its measurements, as far as it is a file.
CSV, MARKDOWN, REPORT = TABLES = ("summary.csv", "summary.md", "report.html")
FILES = (*TABLES, "results.jsonl")

# How many characters a file name has of the hash, and before it of the image's name and the edit's prompt.
_HASH, _NAME, _PROMPT = 10, 60, 40


def make_folder(folder: Path) -> None:
    """Make a folder for results, or raise a `StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        problem = f"cannot make the folder {folder}: {reason(error)}"
        raise StorageError(problem, argument="folder", remedy="name another") from error


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Check that a folder can be written to, and remove it again if it was made for work that left nothing in it."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        make_folder(folder)
        _require_writable(folder)
        _require_contents(folder)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError, ValueError):
                path.rmdir()
        raise


def _require_writable(folder: Path) -> None:
    """Raise a `StorageError` for a folder in which no file can be made."""
    # Permissions do not tell of everything: the disk may be full, or the folder one of the kernel's.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"the folder {folder} cannot be written to: {reason(error)}"
        raise StorageError(problem, argument="folder", remedy="name another") from error


def _require_contents(folder: Path) -> None:
    """Raise a `StorageError` for anything in the way of what a run writes: known before its work, not after."""
    for name in FOLDERS:
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise StorageError(
                f"{folder / name} is no folder, and results go into one of that name",
                argument="folder",
                remedy="move it away or name another folder",
            )
        if (folder / name).is_dir():
            _require_writable(folder / name)
    for name in FILES:
        try:
            require_replaceable(folder / name)
        except OSError as error:
            raise StorageError(
                f"{folder / name} cannot be written: {reason(error)}", argument="folder", remedy="name another folder"
            ) from error


def image_path(folder: Path, m: Measurement, role: Role = "drawn") -> Path:
    """Return the path of an image of a run, measured or still to be measured.

    The hash in the file's name tells it from every other image, model, run, row and edit.
    """
    stem = Path(_safe(m.image, "-_.")).stem[:_NAME]
    if role != "drawn":
        stem += f"-{role}"
    elif m.target is not None:
        stem += f"--{_safe(m.target, '-')[:_PROMPT]}"
    return folder / PICTURES / f"{stem}-{_hash(m, role)}.jpg"


def _hash(m: Measurement, role: Role) -> str:
    if role == "drawn":
        return m.key[:_HASH]
    return key_of({"kind": role, "model": m.model_hash, "dtype": m.dtype, "picture": m.image_hash})[:_HASH]


def _safe(name: str, punctuation: str) -> str:
    return "".join(c if (c.isascii() and c.isalnum()) or c in punctuation else "_" for c in name)


def find_image(folder: Path, m: Measurement, role: Role = "drawn") -> Path | None:
    """Return the file of an image, even if its name in the data set has changed since, or None if there is none."""
    path = image_path(folder, m, role)
    return path if path.is_file() else next(path.parent.glob(f"*-{_hash(m, role)}.jpg"), None)
