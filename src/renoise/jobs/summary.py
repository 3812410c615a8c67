"""What became of the rows of a job."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from renoise.errors import ConfigError
from renoise.files import as_path
from renoise.jobs.manifest import require_manifest
from renoise.jobs.results import FAILED, Folder

# As many different errors as are listed.
_LISTED = 10


@dataclass(frozen=True)
class JobStatus:
    """What became of the rows of a job.

    Attributes:
        folder: the job's.
        source: its input.
        rows: all rows.
        done: the rows that are done.
        failed: the rows that failed.
        passes: the network passes of the rows that are done.
        converged: how many of them came near their fixed points; None where nothing was solved for.
        psnr_image: the mean PSNR of the reconstructions against the images in dB; None unless measured.
        psnr_round_trip: against the autoencoder's round trip; None unless measured, or where one is exact.
        errors: what went wrong and how often, the most frequent first.
    """

    folder: str
    source: str
    rows: int
    done: int
    failed: int
    passes: int
    converged: int | None
    psnr_image: float | None
    psnr_round_trip: float | None
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """The rows that are still to be worked on."""
        return self.rows - self.done - self.failed


def status(out: str | os.PathLike[str]) -> JobStatus:
    """Return what became of the rows of a job, whether it runs, has ended or was killed.

    Args:
        out: the folder of the job.

    Raises:
        ConfigError: if there is no such job.
        StorageError: if its files cannot be read.

    Examples:
        >>> status("out/").failed  # doctest: +SKIP
        4
    """
    path = as_path(out, ConfigError).expanduser().absolute()
    manifest = require_manifest(path)
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    sums = {"psnr_image": 0.0, "psnr_round_trip": 0.0}
    measured: Counter[str] = Counter()
    for one in Folder(path).columns("id", "status", "error", "passes", "converged", *sums):
        counts[one["status"]] += 1
        if one["status"] == FAILED:
            # The same error of many rows counts as one, whatever they are called.
            errors[(one["error"] or "").replace(one["id"], "...")] += 1
            continue
        counts["passes"] += one["passes"]
        if one["converged"] is not None:
            counts["solved"] += 1
            counts["converged"] += one["converged"]
        for name in sums:
            if one[name] is not None:
                sums[name] += one[name]
                measured[name] += 1
    means = {name: total / measured[name] if measured[name] else None for name, total in sums.items()}
    return JobStatus(
        str(path),
        manifest.source,
        manifest.rows,
        counts["done"],
        counts[FAILED],
        counts["passes"],
        counts["converged"] if counts["solved"] else None,
        _finite(means["psnr_image"]),
        _finite(means["psnr_round_trip"]),
        dict(errors.most_common(_LISTED)),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
