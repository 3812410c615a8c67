"""The same job through Ray: the same files, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from job_inputs import OPTIONS, SETTINGS, contents, table
from renoise import RenoiseError, jobs

pytestmark = pytest.mark.jobs

RAY: dict[str, Any] = {**SETTINGS, "engine": "ray", "workers": 2}
# Where the processes of a cluster find this package, installed or not.
PATHS = os.pathsep.join(path for path in sys.path if path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster on this machine, which outlives every job of these tests."""
    pytest.importorskip("ray")
    address = "127.0.0.1:6399"
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    # Reached from this machine alone, so that it needs no token.
    here = {**os.environ, "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1", "PYTHONPATH": PATHS}
    start = ["start", "--head", "--node-ip-address=127.0.0.1", "--port=6399", "--num-cpus=2", "--disable-usage-stats"]
    start.append("--include-dashboard=false")
    subprocess.run([*ray, *start], check=True, env=here, capture_output=True)
    yield address
    subprocess.run([*ray, "stop", "--force"], check=True, env=here, capture_output=True)


def workers() -> list[int]:
    """Return the processes in which Ray's actors work."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            title = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::MapWorker"):
            found.append(int(name))
    return found


def test_ray_gives_the_same_files(rows: Path, by_one: Path, cluster: str, tmp_path: Path) -> None:
    found = jobs.run(rows, tmp_path / "out", address=cluster, **RAY)
    assert (found.done, found.failed, found.left) == (44, 4, 0)
    assert table(tmp_path / "out") == table(by_one)
    assert contents(tmp_path / "out") == contents(by_one)


def test_a_worker_that_is_killed_is_replaced(rows: Path, by_one: Path, cluster: str, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(progress: jobs.JobProgress) -> None:
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    jobs.run(rows, tmp_path / "out", address=cluster, progress=kill, **RAY)
    assert killed
    assert contents(tmp_path / "out") == contents(by_one)


def test_a_driver_that_is_killed_at_three_moments_goes_on(
    rows: Path, by_one: Path, cluster: str, tmp_path: Path, killed: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    command = ("job", "run", rows, out, *OPTIONS, "--engine", "ray", "--workers", "2", "--address", cluster)

    def tables() -> int:
        return len(list((out / "metrics").glob("*.parquet")))

    moments = (lambda: any((out / "edits").rglob("*.png")), lambda: tables() >= 2, lambda: tables() >= 5)
    for moment in moments:
        killed(moment, *command)
        assert tables() < 8
    found = jobs.run(rows, out, address=cluster, **RAY)
    assert (found.done, found.failed, found.left) == (44, 4, 0)
    assert contents(out) == contents(by_one)


def test_failed_rows_alone_are_tried_again(rows: Path, by_one: Path, cluster: str) -> None:
    before = contents(by_one)
    assert jobs.retry(by_one, engine="ray", workers=1, address=cluster).failed == 4
    assert contents(by_one) == before


def test_what_stops_a_worker_is_told_in_one_line(rows: Path, cluster: str, tmp_path: Path) -> None:
    with pytest.raises(RenoiseError, match=r"/nowhere/none") as error:
        jobs.run(rows, tmp_path / "out", address=cluster, **{**RAY, "model": "/nowhere/none"})
    assert "Traceback" not in str(error.value)
    assert "ray" not in str(error.value).lower()


def test_a_cluster_that_is_not_there(rows: Path, cluster: str, tmp_path: Path) -> None:
    import ray

    assert not ray.is_initialized()
    with pytest.raises(RenoiseError, match=r"Ray cannot be reached or started at nowhere://1"):
        jobs.run(rows, tmp_path / "out", address="nowhere://1", **RAY)
    assert not (tmp_path / "out").exists()
