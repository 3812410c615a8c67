"""The engine for many workers: Ray Data hands blocks to actors, on this machine or on a cluster."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from renoise.errors import Argument, ConfigError, RenoiseError
from renoise.escaping import shown
from renoise.jobs.extra import library
from renoise.jobs.settings import JobSettings, Running
from renoise.jobs.sources import Source
from renoise.jobs.worker import Report, Task, Worker

_REACHING = (
    "check the address with ray status; a cluster that asks for a token wants RAY_AUTH_MODE=token in the environment"
)
# Ray takes shares of a CPU in hundredths of this size, and refuses none at all.
_SMALLEST = 0.01


class RayEngine:
    """Works on blocks with as many actors as are asked for.

    Ray Data is given the blocks' places and not their images, so that nothing large passes through its object store,
    and every actor reads what it works on.

    Args:
        running: the workers, and what each takes.
        source: the input.
        settings: the job's.
        folder: the job's, which all machines of a cluster must share.
        make: makes a worker from these three; a stand-in measures the engine by itself.

    Raises:
        ConfigError: if Ray is not installed.
    """

    def __init__(
        self,
        running: Running,
        source: Source,
        settings: JobSettings,
        folder: str,
        make: Callable[..., Worker] = Worker,
    ) -> None:
        self._make = make
        self._running = running
        self._settings = settings
        self._worker: dict[str, Any] = {"source": source, "settings": settings, "folder": folder}
        self._ray = library("ray")
        self._data = library("ray.data")

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start Ray or connect to it, unless the program has done so, and leave it again."""
        ours = not self._ray.is_initialized()
        if ours:
            self._start()
        context, logger = self._data.DataContext.get_current(), logging.getLogger("ray.data")
        before = context.enable_progress_bars, logger.level
        context.enable_progress_bars = False
        logger.setLevel(logging.ERROR)
        try:
            self._require_gpus()
            yield
        finally:
            context.enable_progress_bars = before[0]
            logger.setLevel(before[1])
            if ours:
                self._ray.shutdown()

    def _start(self) -> None:
        # Ray would tell its makers about its use.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        # What starts Ray here says what it has; a cluster that runs has that already.
        new = {} if self._elsewhere else {"include_dashboard": False}
        try:
            self._ray.init(address=self._running.address, **quiet, **new)
        except Exception as error:  # Ray raises errors of many libraries
            where = f" at {self._running.address}" if self._running.address else ""
            problem = f"Ray cannot be reached or started{where}: {shown(' '.join(str(error).split()), 300)}"
            raise RenoiseError(problem, argument="address", remedy=_REACHING) from error

    def _require_gpus(self) -> None:
        """Refuse shares of GPUs that Ray on this machine does not have, and would wait for without end.

        A cluster may have none yet, and get them when they are asked for.
        """
        asked = (self._running.gpus_per_worker or 0.0) * self._running.workers
        here = float(self._ray.cluster_resources().get("GPU", 0.0))
        if asked > here and not self._elsewhere:
            raise ConfigError(
                Argument("gpus_per_worker"),
                " and ",
                Argument("workers"),
                f" ask for {asked:g} GPUs, and this machine has {here:g}",
                remedy=("give fewer ", Argument("workers"), ", or a smaller share"),
            )

    @property
    def _elsewhere(self) -> bool:
        """Whether Ray runs already, here or on other machines."""
        return bool(self._running.address or os.environ.get("RAY_ADDRESS"))

    def facts(self) -> dict[str, Any]:
        """Return what the model is on a machine that works with it."""
        task = self._ray.remote(_facts).options(**self._resources())
        try:
            found: Any = self._ray.get(task.remote(self._make, self._worker))
        except Exception as error:
            raise _failed(error) from error
        if isinstance(found, str):
            raise RenoiseError(found)
        return dict(found)

    def run(self, tasks: Sequence[Task], facts: Mapping[str, Any]) -> Generator[Report]:
        """Work on blocks, and yield a report of each as it comes."""
        context = self._data.DataContext.get_current()
        context.execution_options.preserve_order = False
        # As text, because Ray Data makes tables of what it is given; one block for each makes them tasks.
        items = [{"task": msgspec.json.encode(task).decode()} for task in tasks]
        workers = min(self._running.workers, len(tasks))
        reports = self._data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            fn_constructor_kwargs={"make": self._make, "worker": {**self._worker, "facts": facts}},
            batch_size=1,
            # Two tasks for each worker, so that none waits for the next one.
            compute=self._data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            **self._resources(),
        )
        rows = iter(reports.iter_rows())
        while (row := _next(rows)) is not None:
            yield msgspec.json.decode(row["report"], type=Report)

    def _resources(self) -> dict[str, float]:
        """Return what each actor takes: a CPU for each thread, or less where that would leave none free for Ray."""
        cpus = float(self._ray.cluster_resources().get("CPU", 1.0))
        share = max(_SMALLEST, (cpus - 1.0) / self._running.workers)
        taken: float = self._settings.threads
        if share < taken:
            taken = math.floor(share) if share >= 1.0 else max(_SMALLEST, math.floor(100 * share) / 100)
        if cpus <= 1.0:
            taken = _SMALLEST
        gpus = self._running.gpus_per_worker
        return {"num_cpus": taken} if gpus is None else {"num_cpus": taken, "num_gpus": gpus}


class _Actor:
    """A worker in a process of Ray's.

    Args:
        make: makes the worker.
        worker: its arguments.
    """

    def __init__(self, make: Callable[..., Worker], worker: dict[str, Any]) -> None:
        self._worker = make(**worker)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on the blocks of a batch."""
        tasks = (msgspec.json.decode(text, type=Task) for text in batch["task"])
        return {"report": [msgspec.json.encode(self._worker.work(task)).decode() for task in tasks]}


def _facts(make: Callable[..., Worker], worker: dict[str, Any]) -> dict[str, Any] | str:
    """Return what the model is, or why it cannot be loaded: errors of other processes come wrapped."""
    try:
        return make(**worker).facts()
    except RenoiseError as error:
        return str(error)


def _next(rows: Iterator[Any]) -> Any:
    try:
        return next(rows, None)
    except Exception as error:
        raise _failed(error) from error


def _failed(error: Exception) -> RenoiseError:
    """Return what went wrong in Ray in one line: its errors begin with the traceback of another process."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return RenoiseError(
        f"the job has stopped, because Ray could not go on ({type(cause or error).__name__}: "
        f"{shown(lines[-1] if lines else 'without words', 300)})",
        remedy="give the same command to go on",
    )
