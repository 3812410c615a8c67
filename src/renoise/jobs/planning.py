"""What a job will take: rows, network passes, time, memory and disk, from a few rows that are tried."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.errors import ConfigError, RenoiseError
from renoise.jobs.blocks import index
from renoise.jobs.progress import spoken
from renoise.jobs.running import source_name
from renoise.jobs.settings import JobSettings, Running, divided
from renoise.jobs.sources import Source, open_source
from renoise.ranges import whole

if TYPE_CHECKING:
    from renoise.jobs.computing import Computing, Made

# As many bytes as a row takes in a table, about.
_TABLE_BYTES = 300


@dataclass(frozen=True)
class Plan:
    """What a job will take, as far as some of its rows tell.

    Attributes:
        rows: all rows.
        blocks: the blocks that they make.
        workers: how many work at once.
        sampled: how many rows were tried.
        failed: how many of them failed.
        passes: the network passes of a row, the mean over those that were tried.
        exact: whether every row takes as many: whether the settings alone decide it, and not the images.
        pass_milliseconds: the time of a pass for one image, everything else of a row included.
        loading_seconds: how long the model took to load, once for each worker.
        memory: the bytes of memory that a worker takes, of the GPU where it has one.
        row_bytes: the bytes of a row's results on the disk.
        device: where it was measured.
    """

    rows: int
    blocks: int
    workers: int
    sampled: int
    failed: int
    passes: float
    exact: bool
    pass_milliseconds: float
    loading_seconds: float
    memory: int
    row_bytes: float
    device: str

    @property
    def total_passes(self) -> int:
        """The network passes of all rows."""
        return round(self.rows * self.passes)

    @property
    def seconds(self) -> float:
        """The time of the whole job, if all workers are as quick as the one that was measured."""
        return self.loading_seconds + self.total_passes * self.pass_milliseconds / 1000.0 / self.workers

    @property
    def disk(self) -> int:
        """The bytes that the results take on the disk."""
        return round(self.rows * self.row_bytes)

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        exactly = "exactly" if self.exact else "on average"
        return [
            f"{self.rows:,} rows in {self.blocks:,} blocks",
            f"{self.passes:g} network passes a row ({exactly}), {self.total_passes:,} in all",
            f"{self.pass_milliseconds:.3g} ms a pass, measured with {self.sampled} rows on {self.device}",
            f"{spoken(self.seconds)} with {self.workers} worker{'s' if self.workers > 1 else ''}",
            f"{_size(self.memory)} of memory for each worker",
            f"{_size(self.disk)} on the disk",
        ]


def plan(source: str | os.PathLike[str], *, sample: int = 8, **knobs: Any) -> Plan:
    """Try some rows of an input, write nothing, and return what the whole job will take.

    Args:
        source: as `renoise.jobs.run` takes it.
        sample: how many rows to try, the first ones.
        knobs: as `renoise.jobs.run` takes them.

    Raises:
        ConfigError: as `renoise.jobs.run` raises it.
        RenoiseError: if all rows that were tried failed.

    Examples:
        >>> plan("photos/", to="a dog", model="mini-turbo").total_passes  # doctest: +SKIP
        12000
    """
    own, how = divided(knobs)
    settings, running = JobSettings(**own), Running(**how)
    whole(sample, "sample", 1)
    opened = open_source(source_name(source), settings.columns)
    found = index(opened, settings.rows_per_block)
    begun = time.perf_counter()
    from renoise.jobs.computing import Computing

    with settings.calculating():
        computing = Computing(settings.editor(), settings)
        loading = time.perf_counter() - begun
        made, seconds = _tried(computing, opened, settings, sample)
    done = [one for one in made if one.error is None]
    if not done:
        raise RenoiseError(f"none of the first {len(made)} rows succeeded: {made[0].error}", remedy="mend the input")
    passes = [one.passes for one in done]
    config = computing.config
    return Plan(
        rows=found.rows,
        blocks=len(found.blocks),
        workers=running.workers,
        sampled=len(made),
        failed=len(made) - len(done),
        passes=sum(passes) / len(passes),
        exact=config.walking.direct
        and len({len(one.row.targets) for one in done}) == 1
        and not settings.targets_column,
        pass_milliseconds=1000.0 * seconds / sum(passes),
        loading_seconds=loading,
        memory=_memory(computing),
        row_bytes=sum(map(_bytes, done)) / len(done) + _TABLE_BYTES,
        device=str(computing.editor.device),
    )


def _tried(computing: Computing, source: Source, settings: JobSettings, sample: int) -> tuple[list[Made], float]:
    """Return what became of the first rows, and the seconds that they took after a batch that is not counted."""
    from renoise.jobs.batches import Piece, batches
    from renoise.jobs.computing import Made

    spans = (found.span for found in source.scan())
    rows = list(islice((row for span in spans for row in source.read(span)), sample))
    broken = [Made(row, error=row.problem) for row in rows if row.problem is not None]
    groups = batches([Piece(row) for row in rows if row.problem is None], settings.batch)
    if not groups:
        return broken, 0.0
    computing.run(groups[0][:1])  # the first passes of a process are slow
    begun = time.perf_counter()
    made = [one for group in groups for one in computing.run(group)]
    return [*made, *broken], time.perf_counter() - begun


def _bytes(made: Made) -> int:
    """Return the bytes that a row's files would have."""
    total = 0
    for image in made.edits:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        total += len(buffer.getvalue())
    if made.inversion is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "one.safetensors"
            made.inversion.save(path)
            total += path.stat().st_size
    return total


def _memory(computing: Computing) -> int:
    """Return the most memory in bytes that this process has had, of the GPU where it works on one."""
    import torch

    if computing.editor.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(computing.editor.device))
    try:
        import resource
    except ImportError as error:  # on Windows
        raise ConfigError("this system does not tell how much memory a process takes") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _size(number: float) -> str:
    """Return a number of bytes as people say it.

    Examples:
        >>> _size(1_500_000), _size(2_000)
        ('1.5 MB', '2 kB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"
