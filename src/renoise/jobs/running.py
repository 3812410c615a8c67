"""Run a job, go on with one, or try its failed rows again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renoise.errors import Argument, ConfigError, RenoiseError, StorageError, reason
from renoise.files import as_path, locked
from renoise.jobs.blocks import Index, index
from renoise.jobs.engines import Engine, engine_for
from renoise.jobs.manifest import Inputs, Manifest, read_index, read_manifest, require_manifest, require_same, versions
from renoise.jobs.places import absolute, is_url
from renoise.jobs.progress import Callback, JobProgress
from renoise.jobs.results import BLOCKS, FAILED, MANIFEST, Folder
from renoise.jobs.settings import JobSettings, Running, divided
from renoise.jobs.sources import HELDOUT, open_source
from renoise.jobs.summary import JobStatus, status
from renoise.jobs.worker import Report, Task, failed_ids

_LOCK = ".lock"


def run(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: Callback | None = None, **knobs: Any
) -> JobStatus:
    """Invert and edit all images of an input, or those that an earlier run of the same job left undone.

    Args:
        source: a folder of images with metadata.jsonl, captions.jsonl, the same as .csv, or a .txt beside each; Parquet
            files; WebDataset shards; what datasets' `save_to_disk` wrote; "mini-heldout"; or the URL of one of them.
        out: the folder of the job, made if need be.
        progress: called after each block. Raising in it stops the job, which can be resumed.
        knobs: see `JobSettings` and `Running`.

    Returns:
        What became of all rows.

    Raises:
        ConfigError: for settings that cannot be used, an input that cannot be read or has an id twice, or a folder
            with another job.
        StorageError: if results cannot be written, or another process is writing them.
        RenoiseError: if too many rows failed.

    Examples:
        >>> run("photos/", "out/", to="a dog", model="mini-turbo").done  # doctest: +SKIP
        1000
    """
    own, how = divided(knobs)
    settings, running = JobSettings(**own), Running(**how)
    name = source_name(source)
    folder = _folder(out)
    opened = open_source(name, settings.columns)
    with _held(folder):
        before = read_manifest(folder.path)
        inputs = Inputs.of(opened.files)
        same = before is not None and (before.source, before.inputs) == (name, inputs)
        same = same and before is not None and before.settings == settings
        found = (
            read_index(folder.path, before) if same and before is not None else index(opened, settings.rows_per_block)
        )
        model = {} if before is None else before.model
        now = Manifest(name, opened.kind, inputs, found.rows, len(found.blocks), found.ids, model, settings, versions())
        if before is not None:
            require_same(before, now, folder.path)
        done = set(folder.done())
        tasks = [Task(block) for block in found.blocks if block.number not in done]
        engine = engine_for(running, opened, settings, str(folder.path))
        _work(engine, tasks, _Job(folder, now, found, before is not None), running.limit(found.rows), progress)
        return status(folder.path)


def retry(out: str | os.PathLike[str], *, progress: Callback | None = None, **knobs: Any) -> JobStatus:
    """Try the failed rows of a job again, each alone; the input may have been mended since.

    Args:
        out: the folder of the job.
        progress: as for `run`.
        knobs: see `Running`; the settings are the job's own.

    Returns:
        What became of all rows.

    Raises:
        ConfigError: if there is no such job, its input has other rows now, or the model is another one.
        StorageError: if results cannot be written, or another process is writing them.
    """
    own, how = divided(knobs)
    if own:
        raise ConfigError(
            f"the settings of a job stay as they are, so that {', '.join(own)} cannot be given", remedy="leave it out"
        )
    running = Running(**how)
    folder = _folder(out)
    before = require_manifest(folder.path)
    with _held(folder):
        opened = open_source(before.source, before.settings.columns)
        inputs = Inputs.of(opened.files)
        mended = inputs != before.inputs
        found = index(opened, before.settings.rows_per_block) if mended else read_index(folder.path, before)
        now = replace(before, rows=found.rows, blocks=len(found.blocks), ids=found.ids, versions=versions())
        require_same(before, now, folder.path)
        now = replace(now, inputs=inputs)
        tasks = [
            Task(found.blocks[number], only)
            for number in folder.done()
            if number < len(found.blocks) and (only := failed_ids(folder.read_table(number)))
        ]
        engine = engine_for(running, opened, before.settings, str(folder.path))
        _work(engine, tasks, _Job(folder, now, found, not mended), running.limit(found.rows), progress)
        return status(folder.path)


@dataclass(frozen=True)
class _Job:
    """What is worked on.

    Attributes:
        folder: the job's.
        now: its manifest; without a model if none was loaded for it yet.
        found: its rows.
        written: whether the folder has that manifest.
    """

    folder: Folder
    now: Manifest
    found: Index
    written: bool

    def begin(self, engine: Engine) -> Mapping[str, Any]:
        """Write the manifest where it is new or its input was mended, and return what the model must be."""
        facts = self.now.model or engine.facts()
        if not self.written:
            replace(self.now, model=facts).write(self.folder, self.found)
        return facts


def _work(engine: Engine, tasks: Sequence[Task], job: _Job, limit: int, progress: Callback | None) -> None:
    """Let an engine work, tell how it goes, and stop it where it cannot go on."""
    if not tasks:
        return
    again = frozenset[str]().union(*(task.only or () for task in tasks))
    before = [one for one in job.folder.columns("id", "status") if one["id"] not in again]
    count = _Count(job.found.rows, limit, len(before), sum(one["status"] == FAILED for one in before))
    count.require_few(job.folder)
    with engine.open():
        facts = job.begin(engine)
        count.begin()
        with closing(engine.run(tasks, facts)) as reports:
            for report in reports:
                told = count.add(report)
                if progress is not None:
                    progress(told)
                if report.stop is not None:
                    raise RenoiseError(f"the job has stopped: {report.stop}")
                count.require_few(job.folder)
    job.folder.tidy()


class _Count:
    """Counts what workers report.

    Args:
        rows: all rows of the job.
        limit: so many failed rows stop it.
        done: the rows that are worked on already.
        failed: those of them that failed.
    """

    def __init__(self, rows: int, limit: int, done: int, failed: int) -> None:
        self._rows, self._limit, self._done, self._failed = rows, limit, done, failed
        self._worked = self._passes = 0
        self._said: set[str] = set()
        self._begun = 0.0

    def begin(self) -> None:
        """Take note that the work begins now."""
        self._begun = time.perf_counter()

    def add(self, report: Report) -> JobProgress:
        """Count a report, and return how far the job is."""
        self._done += report.done + report.failed
        self._worked += report.done + report.failed
        self._failed += report.failed
        self._passes += report.passes
        remarks = tuple(remark for remark in report.remarks if remark not in self._said)
        self._said.update(remarks)
        seconds = time.perf_counter() - self._begun
        return JobProgress(self._done, self._rows, self._failed, self._passes, self._worked, seconds, remarks)

    def require_few(self, folder: Folder) -> None:
        """Stop the job if too many rows have failed.

        Raises:
            RenoiseError: if so.
        """
        if self._failed >= self._limit:
            raise RenoiseError(
                f"the job has stopped: {self._failed} of {self._rows} rows have failed, and {self._limit} are the "
                "limit; ",
                f"see what failed with renoise job status {folder.path}",
                argument="max_failures",
                remedy=("mend it and retry, or raise ", Argument("max_failures")),
            )


def source_name(source: str | os.PathLike[str]) -> str:
    """Return the name of an input that means the same in every folder.

    Raises:
        ConfigError: if it is no path or URL.
    """
    return HELDOUT if source == HELDOUT else absolute(source)


def _folder(out: str | os.PathLike[str]) -> Folder:
    path = as_path(out, ConfigError)
    if is_url(os.fspath(out)):
        raise ConfigError(
            "results are written to a folder, not to a URL",
            argument="out",
            remedy="mount the storage, or name a folder",
        )
    return Folder(path.expanduser().absolute())


@contextmanager
def _held(folder: Folder) -> Iterator[None]:
    """Make the folder, and keep other processes from working in it; take it away again if nothing came of it."""
    path, made = folder.path, False
    try:
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        if not made and read_manifest(path) is None and any(one.name not in (_LOCK, BLOCKS) for one in path.iterdir()):
            raise ConfigError(
                f"the folder {path} is not empty, and holds no job", argument="out", remedy="name a new or empty folder"
            )
        with (path / _LOCK).open("ab") as file, locked(file, 0):
            yield
    except TimeoutError as error:
        raise StorageError(
            f"another process is working in {path}", argument="out", remedy="wait for it or end it"
        ) from error
    except OSError as error:
        raise StorageError(f"the folder {path} cannot be used: {reason(error)}", argument="out") from error
    finally:
        if not (path / MANIFEST).exists():
            _clear(path, made=made)


def _clear(path: Path, *, made: bool) -> None:
    """Remove what stands in a folder of which no job came, and the folder itself if it was made for it."""
    with suppress(OSError):
        for name in (_LOCK, BLOCKS):
            (path / name).unlink(missing_ok=True)
        if made:
            path.rmdir()
