"""Invert and edit whole data sets, on one machine or many (extra `jobs`).

    import renoise.jobs

    renoise.jobs.run("photos/", "out/", to="a dog", model="mini-turbo")
    renoise.jobs.status("out/").failed
    renoise.jobs.retry("out/")

A job divides its input into blocks of rows that are always the same, and workers turn each block into files. What is
done is what the tables in the job's folder say, so that a job that was killed goes on where it was.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renoise.jobs.planning import Plan, plan
    from renoise.jobs.progress import JobProgress
    from renoise.jobs.running import retry, run
    from renoise.jobs.settings import JobSettings, Running
    from renoise.jobs.summary import JobStatus, status

_HOMES = {
    "JobProgress": "renoise.jobs.progress",
    "JobSettings": "renoise.jobs.settings",
    "JobStatus": "renoise.jobs.summary",
    "Plan": "renoise.jobs.planning",
    "Running": "renoise.jobs.settings",
    "plan": "renoise.jobs.planning",
    "retry": "renoise.jobs.running",
    "run": "renoise.jobs.running",
    "status": "renoise.jobs.summary",
}

__all__ = ["JobProgress", "JobSettings", "JobStatus", "Plan", "Running", "plan", "retry", "run", "status"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'renoise.jobs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
