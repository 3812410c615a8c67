"""Jobs over 48 rows with the tiny pipeline, and what they leave behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import job_inputs as inputs
from job_inputs import SETTINGS, command


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
