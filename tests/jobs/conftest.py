"""Jobs over 48 rows with the tiny pipeline, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import inputs  # type: ignore[import-not-found, unused-ignore]

TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
# What decides the results of the jobs of these tests.
SETTINGS: dict[str, Any] = {
    "targets_column": "targets",
    "model": str(TINY),
    "device": "cpu",
    "preset": "reverse",
    "num_steps": 2,
    "rows_per_block": 6,
    "batch": 4,
}
# The same as options.
OPTIONS = (
    *("--targets-column", "targets", "--model", str(TINY), "--device", "cpu", "--preset", "reverse", "--steps", "2"),
    *("--rows-per-block", "6", "--batch", "4"),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all results of a job, by their paths."""
    files = (path for name in ("edits", "inversions", "metrics") for path in (folder / name).rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


def table(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all tables of a job."""
    import pyarrow.parquet as pq

    return [row for path in sorted((folder / "metrics").iterdir()) for row in pq.read_table(path).to_pylist()]


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "renoise", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 rows, four of which cannot be worked on."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("rows")
    return Path(inputs.as_parquet(folder / "rows.parquet", inputs.records(48, bad=True)))


@pytest.fixture(scope="session")
def by_one(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job over these rows that nothing disturbed, by the local engine."""
    from renoise import jobs

    out = tmp_path_factory.mktemp("job") / "out"
    jobs.run(rows, out, **SETTINGS)
    return out


@pytest.fixture
def killed() -> Iterator[Callable[..., None]]:
    """Start the command and kill it, without a chance to clear up, as soon as something is so."""
    started: list[subprocess.Popen[str]] = []

    def run(until: Callable[[], bool], *arguments: str | Path) -> None:
        import time

        process = command(*arguments)
        started.append(process)
        while not until():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.wait()

    yield run
    for process in started:
        process.kill()
        process.communicate()
