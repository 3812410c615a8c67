"""The folder of a job: where its results go, and the tables that say what is done."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from renoise.errors import StorageError, reason
from renoise.escaping import shown
from renoise.files import write_atomically
from renoise.jobs.extra import library

MANIFEST, BLOCKS, METRICS, EDITS, INVERSIONS = "manifest.json", "blocks.jsonl", "metrics", "edits", "inversions"
# Where a worker leaves a mark for as long as it works on a block, and how many of them one block may have.
TRIES, MOST_TRIES = ".tries", 5
Status = Literal["done", "failed"]
DONE: Status = "done"
FAILED: Status = "failed"
# Ids that are file names as they are, on every system.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TABLE = re.compile(r"block-(\d{7,})\.parquet")


@dataclass(frozen=True)
class Result:
    """What became of one row: a line of the table.

    Attributes:
        id: the row's.
        status: "done" or "failed".
        error: what went wrong; None if nothing did.
        prompt: what the image shows.
        targets: what its edits were to show.
        passes: the network passes that it took in all; 0 if it failed.
        residual: the largest residual of a step (see `renoise.Inversion.residuals`).
        converged: whether all steps came near their fixed points; None of a direct walk, which solves nothing.
        psnr_image: PSNR of the reconstruction from the noise alone against the image, in dB; None unless measured.
        psnr_round_trip: against the autoencoder's round trip.
        seed: the row's.
        model: its name.
        file: the first edit, below the job's folder; those of further targets end in -1, -2 and so on.
        inversion: its inversion, below the job's folder; None unless asked for.
    """

    id: str
    status: Status
    error: str | None
    prompt: str | None
    targets: tuple[str, ...]
    passes: int
    residual: float | None
    converged: bool | None
    psnr_image: float | None
    psnr_round_trip: float | None
    seed: int
    model: str
    file: str | None
    inversion: str | None


def stem_of(id_: str) -> str:
    """Return the path of a row's files, without folder, number and extension: a safe name, and another for every id.

    Ids that are no plain names are hashed.

    Examples:
        >>> stem_of("cat-01")
        '0a/cat-01'
        >>> stem_of("../../etc/passwd")
        '37/_3754d6cb3a38e1185e5b382d5f3ef3f1'
    """
    digest = hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()
    # No plain name begins with the underscore of those that are hashed.
    name = id_ if _PLAIN.fullmatch(id_) and not id_.endswith(".") else f"_{digest[:32]}"
    return f"{digest[:2]}/{name}"


def edit_file(id_: str, number: int) -> str:
    """Return the path of an edit below the job's folder."""
    return f"{EDITS}/{stem_of(id_)}-{number}.png"


def inversion_file(id_: str) -> str:
    """Return the path of an inversion below the job's folder."""
    return f"{INVERSIONS}/{stem_of(id_)}.safetensors"


class Folder:
    """The folder of a job.

    Args:
        path: the folder.

    Raises:
        StorageError: by its methods, if something cannot be written or read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, data)
        except OSError as error:
            raise StorageError(
                f"cannot write {target}: {reason(error)}", remedy="free space, and give the same command to go on"
            ) from error

    def begin(self, block: int) -> None:
        """Take note that a worker begins with a block.

        Raises:
            StorageError: if it has ended too many workers, which would go on for ever.
        """
        path = self.path / _attempt(block)
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(b".")
            tries = path.stat().st_size
        except OSError as error:
            raise StorageError(f"cannot write {path}: {reason(error)}", remedy="free space, and go on") from error
        if tries > MOST_TRIES:
            self.end(block)
            raise StorageError(
                f"block {block} has ended its worker {MOST_TRIES} times, each time without an error: it was killed, or "
                "the memory did not suffice",
                remedy="see that there is enough of it, make batches smaller in another folder, or go on to try again",
            )

    def end(self, block: int) -> None:
        """Take note that a worker is through with a block, or has told why it is not."""
        path = self.path / _attempt(block)
        with suppress(OSError):
            path.unlink()

    def tidy(self) -> None:
        """Remove what only a job that runs has a use for."""
        with suppress(OSError):
            (self.path / TRIES).rmdir()

    def write_edit(self, id_: str, number: int, image: Image.Image) -> None:
        """Write an edit as PNG."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        self.write(edit_file(id_, number), buffer.getvalue())

    def inversion_path(self, id_: str) -> Path:
        """Return where an inversion goes, in a folder that is there."""
        path = self.path / inversion_file(id_)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path.parent}: {reason(error)}", remedy="free space") from error
        return path

    def write_table(self, block: int, results: Iterable[Result]) -> None:
        """Write the table of a block, which says that it is done: after everything else of it."""
        arrow, parquet = library("pyarrow"), library("pyarrow.parquet")
        table = arrow.Table.from_pylist([asdict(one) for one in results], schema=_schema(arrow))
        buffer = io.BytesIO()
        parquet.write_table(table, buffer)
        self.write(table_name(block), buffer.getvalue())

    def read_table(self, block: int) -> list[Result]:
        """Return the results of a block that is done."""
        return [_result(record) for record in _read(self.path / table_name(block)).to_pylist()]

    def done(self) -> list[int]:
        """Return the numbers of the blocks that are done."""
        return sorted(number for number, _ in self._tables())

    def columns(self, *names: str) -> Iterator[Mapping[str, Any]]:
        """Yield these columns of all results."""
        for _, path in sorted(self._tables()):
            yield from _read(path, list(names)).to_pylist()

    def _tables(self) -> Iterator[tuple[int, Path]]:
        folder = self.path / METRICS
        try:
            found = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise StorageError(f"{folder} cannot be read: {reason(error)}", remedy="check its permissions") from error
        for path in found:
            named = _TABLE.fullmatch(path.name)
            if named:
                yield int(named[1]), path


def _attempt(block: int) -> str:
    return f"{TRIES}/block-{block:07d}"


def table_name(block: int) -> str:
    """Return the path of a block's table below the job's folder."""
    return f"{METRICS}/block-{block:07d}.parquet"


def _schema(arrow: Any) -> Any:
    return arrow.schema(
        [
            ("id", arrow.string()),
            ("status", arrow.string()),
            ("error", arrow.string()),
            ("prompt", arrow.string()),
            ("targets", arrow.list_(arrow.string())),
            ("passes", arrow.int64()),
            ("residual", arrow.float64()),
            ("converged", arrow.bool_()),
            ("psnr_image", arrow.float64()),
            ("psnr_round_trip", arrow.float64()),
            ("seed", arrow.int64()),
            ("model", arrow.string()),
            ("file", arrow.string()),
            ("inversion", arrow.string()),
        ]
    )


def _read(path: Path, columns: list[str] | None = None) -> Any:
    arrow = library("pyarrow")
    try:
        return library("pyarrow.parquet").ParquetFile(path).read(columns)
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{path} is no table of a job: {shown(reason(error), 200)}", remedy="remove it, and run the job again"
        ) from error


def _result(record: dict[str, Any]) -> Result:
    try:
        return Result(**{**record, "targets": tuple(record["targets"] or ())})
    except (TypeError, KeyError) as error:
        raise StorageError(
            "a table of the job has other columns than this version's", remedy="update renoise"
        ) from error
