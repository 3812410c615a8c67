"""A worker: loads the model once, and turns blocks of rows into files. All engines have this one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from renoise.errors import ConvergenceWarning, ModelError, RenoiseError, RenoiseWarning
from renoise.jobs.results import DONE, FAILED, Folder, Result, edit_file, inversion_file
from renoise.jobs.rows import Block, Row
from renoise.jobs.seeds import seed_of
from renoise.jobs.settings import JobSettings
from renoise.jobs.sources import Source

if TYPE_CHECKING:
    from renoise.jobs.computing import Computing, Made


@dataclass(frozen=True)
class Report:
    """What a worker tells of a block.

    Attributes:
        block: its number.
        done: the rows that are done.
        failed: the rows that failed.
        passes: the network passes of all rows together.
        seconds: how long it took.
        remarks: what the library warned of.
        stop: why the whole job has to end; None if it has not.
    """

    block: int
    done: int = 0
    failed: int = 0
    passes: int = 0
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    stop: str | None = None


@dataclass(frozen=True)
class Task:
    """A block to work on.

    Attributes:
        block: the block.
        only: the ids of the rows to work on again, where the others are done; None is all.
    """

    block: Block
    only: frozenset[str] | None = None


class Worker:
    """Works on blocks; it can be sent to another process before its first one.

    Args:
        source: the input.
        settings: the job's.
        folder: the job's.
        facts: what the model was when the job began (`facts`); None asks for nothing.
    """

    def __init__(
        self, source: Source, settings: JobSettings, folder: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        self._source = source
        self._settings = settings
        self._folder = Folder(folder)
        self._facts = facts
        self._computing: Computing | None = None

    def expect(self, facts: Mapping[str, Any]) -> None:
        """Refuse to work with another model than one with these facts, which is loaded or will be."""
        self._facts = facts
        if self._computing is not None:
            self._require_same(self._computing, facts)

    def facts(self) -> dict[str, Any]:
        """Load the model, and return what decides results of it: its fingerprint, type, sampler and settings.

        Raises:
            RenoiseError: if it cannot be loaded, or the job's settings do not fit it.
        """
        with self._settings.calculating():
            return self._loaded().facts()

    def work(self, task: Task) -> Report:
        """Work on a block and write its results; whatever is to end the job comes back as the report's `stop`."""
        begun = time.perf_counter()
        remarks: list[str] = []
        try:
            with self._settings.calculating(), _heard(remarks):
                results = self._block(task)
        except RenoiseError as error:
            self._folder.end(task.block.number)
            return Report(task.block.number, stop=str(error), remarks=tuple(remarks))
        worked = [one for one in results if task.only is None or one.id in task.only]
        failed = sum(one.status == FAILED for one in worked)
        passes = sum(one.passes for one in worked)
        seconds = time.perf_counter() - begun
        return Report(task.block.number, len(worked) - failed, failed, passes, seconds, tuple(remarks))

    def _block(self, task: Task) -> list[Result]:
        """Work on a block; its table is written last, and says that it is done."""
        self._folder.begin(task.block.number)
        rows = [row for span in task.block.spans for row in self._source.read(span)]
        before = {} if task.only is None else {one.id: one for one in self._folder.read_table(task.block.number)}
        asked = [row for row in rows if task.only is None or row.id in task.only]
        found = before | {one.id: one for one in self._results(asked)}
        results = [found[row.id] for row in rows]
        self._folder.write_table(task.block.number, results)
        self._folder.end(task.block.number)
        return results

    def _results(self, rows: Sequence[Row]) -> Iterator[Result]:
        from renoise.jobs.batches import Piece, batches, load
        from renoise.jobs.computing import Made

        pieces = []
        for row in rows:
            try:
                if row.problem is not None:
                    yield self._result(Made(row, error=row.problem))
                    continue
                # Images that keep their sizes have to be opened to know them.
                pieces.append(Piece(row, load(row).size if self._settings.fit == "keep" else None))
            except RenoiseError as error:
                yield self._result(Made(row, error=str(error)))
        for batch in batches(pieces, self._settings.batch):
            for made in self._loaded().run(batch):
                for number, image in enumerate(made.edits):
                    self._folder.write_edit(made.row.id, number, image)
                if made.inversion is not None:
                    made.inversion.save(self._folder.inversion_path(made.row.id))
                yield self._result(made)

    def _result(self, made: Made) -> Result:
        id_, done = made.row.id, made.error is None
        return Result(
            id=id_,
            status=DONE if done else FAILED,
            error=made.error,
            prompt=made.row.prompt,
            targets=made.row.targets,
            passes=made.passes,
            residual=made.residual,
            converged=made.converged,
            psnr_image=None if made.quality is None else made.quality.image,
            psnr_round_trip=None if made.quality is None else made.quality.round_trip,
            seed=seed_of(id_, self._settings.seed),
            model=self._settings.model,
            file=edit_file(id_, 0) if done else None,
            inversion=inversion_file(id_) if done and self._settings.inversions else None,
        )

    def _loaded(self) -> Computing:
        """Return the model, loaded once."""
        if self._computing is None:
            from renoise.jobs.computing import Computing

            computing = Computing(self._settings.editor(), self._settings)
            if self._facts is not None:
                self._require_same(computing, self._facts)
            self._computing = computing
        return self._computing

    def _require_same(self, computing: Computing, facts: Mapping[str, Any]) -> None:
        from renoise.jobs.models import differences

        if found := differences(facts, computing.facts()):
            raise ModelError(
                f"the job was begun with another model: {'; '.join(found)}",
                argument="model",
                remedy="give the model that it was begun with, on all machines alike, or name another folder",
            )


@contextmanager
def _heard(remarks: list[str]) -> Iterator[None]:
    """Keep the library's warnings, each once; that an image did not converge stands in its row."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RenoiseWarning)
        try:
            yield
        finally:
            told = (str(one.message) for one in caught if not issubclass(one.category, ConvergenceWarning))
            remarks.extend(dict.fromkeys(told))


def failed_ids(results: Collection[Result]) -> frozenset[str]:
    """Return the ids of the rows that failed."""
    return frozenset(one.id for one in results if one.status == FAILED)
