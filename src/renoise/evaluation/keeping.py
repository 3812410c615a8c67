"""The folder of a run: made before any work is done for it, and where in it each image lies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal

from renoise.errors import StorageError, reason
from renoise.evaluation.measurement import Measurement, key_of

RESULTS = "results.jsonl"

Kind = Literal["drawn", "picture", "round-trip"]

# Of the hash in an image's file name, and of the name and the prompt before it, which are there to be read.
_HASH, _NAME, _PROMPT = 10, 60, 40


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        StorageError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot make the folder {folder}: {reason(error)}; name another") from error


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """A folder that is there and can be written to; taken away again if it was made for work that left nothing in it.

    Raises:
        StorageError: if it cannot be made or written to.
    """
    missing = [path for path in (folder, *folder.parents) if not _exists(path)]
    try:
        make_folder(folder)
        _try_out(folder)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError, ValueError):
                path.rmdir()
        raise


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no folder can have
        return True


def _try_out(folder: Path) -> None:
    # Permissions do not tell of everything: a full disk, a mount, a folder of the kernel's.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be written to: {reason(error)}; name another") from error


def picture_path(folder: Path, m: Measurement, kind: Kind = "drawn") -> Path:
    """Where an image of a run lies.

    The hash in its name tells it from that of any other image, model, run, row or edit.

    Args:
        folder: the run's.
        m: a measurement of it, or what is to be measured.
        kind: what was measured, the image itself, or its round trip through the model's autoencoder.
    """
    stem = Path(_safe(m.picture, "-_.")).stem[:_NAME]
    if kind != "drawn":
        stem += f"-{kind}"
    elif m.target is not None:
        stem += f"--{_safe(m.target, '-')[:_PROMPT]}"
    return folder / "pictures" / f"{stem}-{_hash(m, kind)}.jpg"


def _hash(m: Measurement, kind: Kind) -> str:
    if kind == "drawn":
        return m.key[:_HASH]
    return key_of({"kind": kind, "model": m.model_hash, "dtype": m.dtype, "picture": m.picture_hash})[:_HASH]


def _safe(name: str, punctuation: str) -> str:
    return "".join(c if (c.isascii() and c.isalnum()) or c in punctuation else "_" for c in name)


class Finder:
    """Finds the images of a run, also those whose names in the data set have changed since.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_hash = cache(self._listed)

    def find(self, m: Measurement, kind: Kind = "drawn") -> Path | None:
        """The file of an image, or None if there is none."""
        path = picture_path(self._folder, m, kind)
        return path if path.is_file() else self._by_hash().get(_hash(m, kind))

    def _listed(self) -> dict[str, Path]:
        return {path.stem[-_HASH:]: path for path in sorted((self._folder / "pictures").glob("*.jpg"))}
