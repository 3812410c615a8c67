"""Measures the rows of a run, image by image, and remembers what was measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renoise import images
from renoise.editor import Editor
from renoise.errors import ConfigError, ImageError, NumericalError, SchedulerError
from renoise.evaluation import data, metrics
from renoise.evaluation.asking import Numbered, Task, ask, example_of, numbered_examples, renamed, targets_of, versions
from renoise.evaluation.batches import Asked, Batch, Fitted
from renoise.evaluation.edit_metrics import edit_numbers
from renoise.evaluation.judges import Judges
from renoise.evaluation.keeping import RESULTS, Kind, make_folder, picture_path, usable
from renoise.evaluation.keys import Identity, differences, keyed
from renoise.evaluation.measurement import Measurement, Results, finite
from renoise.evaluation.methods import Drawn, Noised
from renoise.evaluation.registry import method_from
from renoise.evaluation.runs import Row, draws_edits, rows_of
from renoise.quality import psnr


@dataclass(frozen=True)
class Advance:
    """What a `progress` callable is told after each batch of each row.

    Attributes:
        done: measurements so far.
        total: measurements in all.
        label: the row's.
    """

    done: int
    total: int
    label: str


def measure(
    task: Task,
    progress: Callable[[Advance], None] | None = None,
    examples: Sequence[data.Example] | None = None,
) -> list[Measurement]:
    """Measure every row of a run on every image, but for what the folder's `results.jsonl` has already.

    An image that cannot be read is a measurement that failed, and what failed is tried again the next time.

    Args:
        task: what to measure.
        progress: called after each batch of each row.
        examples: the task's data set, if it was loaded before.

    Returns:
        The measurements of this run, row by row.

    Raises:
        ConfigError: if the data set is not there, or has no edits for a run that draws them, or a mask does not fit.
        StorageError: if results cannot be read or written.
        ImageError: if an image of the results cannot be written.
    """
    numbered = numbered_examples(task, examples)
    rows = rows_of(task.run, task.editor, task.seed) if task.rows is None else task.rows
    model = Identity.of(task.editor)
    asked: list[list[Measurement]] = [[] for _ in rows]
    done, total = 0, len(rows) * sum(len(targets_of(task, example)) for _, example in numbered)
    with usable(Path(task.folder)):
        results = Results(Path(task.folder) / RESULTS)
        for start in range(0, len(numbered), task.batch):
            group = _Group(task, model, numbered[start : start + task.batch])
            for place, row in enumerate(rows):
                wanted = group.ask(row, place)
                group.measure(row, wanted, results)
                asked[place] += [m for own in wanted for m in own]
                done += sum(map(len, wanted))
                if progress is not None:
                    progress(Advance(done, total, row.label))
    every = [m for own in asked for m in own]
    return [renamed(m, one) for m, one in zip(results.get(m.key for m in every), every, strict=True)]


def recompute(measurement: Measurement, editor: Editor, judges: Judges | None = None) -> Measurement:
    """Measure one image under one row again, from its record alone.

    The same up to the rounding of float32, which depends on how many images are worked on at a time.

    Args:
        measurement: the record.
        editor: the model that it names.
        judges: those of an edit, which its `versions` name; without them their numbers are not available.

    Raises:
        ConfigError: if the record's image or method is not there any more, or they or the model are not those of the
            record.
        ImageError: if the image cannot be read.
    """
    if not measurement.picture_hash or not measurement.scheduler:
        raise ConfigError(
            f"the record of {measurement.picture!r} does not tell which image and sampler were measured: the image "
            "could not be read, or an earlier version measured it; measure its run again"
        )
    judged = judges is not None
    judges = Judges() if judges is None else judges
    row = Row(measurement.method, method_from(measurement.settings), measurement.prompt, measurement.guidance)
    task = Task(measurement.run, editor, measurement.data, Path(), seed=measurement.seed, judges=judges, rows=(row,))
    numbered = example_of(measurement)
    fitted = Fitted.of(editor, numbered[1], masked=measurement.target is not None)
    asked = ask(task, Identity.of(editor), row, measurement.row, numbered, measurement.target, fitted.digest)
    # Without judges their numbers are left out, and all others are the record's.
    like = keyed(asked if judged else replace(asked, versions=measurement.versions))
    if like.key != measurement.key:
        differ = differences(measurement, like) or [
            "its settings or its prompt, which do not fit its key (they were changed, or another version wrote them)"
        ]
        raise ConfigError(
            f"the record of {measurement.picture!r} under {measurement.method!r} cannot be measured again: "
            f"{' and '.join(differ)}; give what was measured, or measure the run again"
        )
    asked = replace(asked, key=measurement.key, kind=measurement.kind)
    (batch,) = Batch.of(editor, [fitted], judges).asking([(asked,)])
    return _measure_row(task, row, batch, keep=False)[0]


class _Group:
    """Images that are worked on at a time: fitted at once, and encoded as soon as a row lacks one of them."""

    def __init__(self, task: Task, model: Identity, numbered: Iterable[Numbered]) -> None:
        self._task = task
        self._model = model
        self._numbered = list(numbered)
        self._fitted = [self._fit(example) for _, example in self._numbered]
        self._batch: Batch | None = None

    def _fit(self, example: data.Example) -> Fitted | ImageError:
        try:
            return Fitted.of(self._task.editor, example, masked=draws_edits(self._task.run))
        except ImageError as error:
            return error

    def ask(self, row: Row, place: int) -> list[Asked]:
        """What a row measures of each image."""
        digests = [fitted.digest if isinstance(fitted, Fitted) else "" for fitted in self._fitted]
        return [
            tuple(
                ask(self._task, self._model, row, place, numbered, target, digest)
                for target in targets_of(self._task, numbered[1])
            )
            for numbered, digest in zip(self._numbered, digests, strict=True)
        ]

    def measure(self, row: Row, wanted: Sequence[Asked], results: Results) -> None:
        """Add to the results what they lack."""
        missing: list[Asked] = []
        for fitted, own in zip(self._fitted, wanted, strict=True):
            if isinstance(fitted, Fitted):
                missing.append(tuple(m for m in own if not results.done(m.key)))
            else:
                results.add(_failed(m, fitted) for m in own)
        if not any(missing):
            return
        if self._batch is None:
            readable = [fitted for fitted in self._fitted if isinstance(fitted, Fitted)]
            self._batch = Batch.of(self._task.editor, readable, self._task.judges)
        for batch in self._batch.asking(missing):
            results.add(_measure_row(self._task, row, batch))


def _failed(asked: Measurement, error: Exception) -> Measurement:
    return replace(asked, error=" ".join(str(error).split()))


def _measure_row(task: Task, row: Row, batch: Batch, *, keep: bool = True) -> list[Measurement]:
    """The measurements of a batch.

    Where it fails, each image and then each target is tried alone, so that one cannot spoil the others.
    """
    begun = time.perf_counter()
    prompts = [own[0].prompt for own in batch.asked]
    found: list[Measurement] = []
    try:
        with _without_remark():
            noised = row.method.invert(task.editor, batch.z_0, prompts)
            inverting = time.perf_counter() - begun
            for asked in zip(*batch.asked, strict=True):
                begun = time.perf_counter()
                drawn = noised.draw([m.target for m in asked if m.target is not None] or None, row.guidance)
                seconds = (inverting + time.perf_counter() - begun) / len(prompts)
                if keep:
                    _keep_pictures(Path(task.folder), batch, asked, drawn)
                for i, m in enumerate(asked):
                    numbers = _numbers(batch, i, noised, drawn) | _edit_numbers(batch, i, drawn, m.target, task.judges)
                    found.append(replace(m, seconds=seconds, **numbers))
    except (NumericalError, SchedulerError, ConfigError) as error:
        if batch.drawings > 1:
            return [m for part in batch.divided() for m in _measure_row(task, row, part, keep=keep)]
        return [_failed(batch.asked[0][0], error)]
    return found


def _numbers(batch: Batch, i: int, noised: Noised, drawn: Drawn) -> dict[str, Any]:
    """What is measured of every image that was drawn, by the names of a `Measurement`'s fields."""
    again, truth, bound = (x[i : i + 1] for x in (drawn.pixels, batch.truth, batch.round_trip))
    return {
        "l2": finite(float(metrics.l2(again, truth))),
        "psnr": _decibels(again, truth),
        "ssim": finite(float(metrics.ssim(again, truth))),
        "ms_ssim": _optional(metrics.ms_ssim(again, truth)),
        "lpips": _optional(metrics.lpips(again, truth)),
        "psnr_roundtrip": _decibels(again, bound),
        "psnr_bound": _decibels(bound, truth),
        "passes_inversion": noised.passes,
        "passes_denoising": drawn.passes,
        "deviation": finite(float(noised.latents[i].std())),
        "residual_history": _history(noised.residuals, i),
        "timesteps": noised.timesteps,
    }


def _edit_numbers(batch: Batch, i: int, drawn: Drawn, target: str | None, judges: Judges) -> dict[str, Any]:
    """What is measured of an edit besides; nothing of a reconstruction."""
    if target is None:
        return {}
    structure = None if batch.structure is None else batch.structure[i : i + 1]
    return edit_numbers(
        drawn.pixels[i : i + 1],
        batch.truth[i : i + 1],
        target,
        mask=batch.masks[i],
        structure=structure,
        judges=judges,
    )


def _decibels(a: Tensor, b: Tensor) -> float:
    return min(float(psnr(a, b)), metrics.HIGHEST_PSNR)


def _optional(value: Tensor | None) -> float | None:
    return None if value is None else finite(float(value))


def _history(residuals: Tensor | None, i: int) -> tuple[tuple[float, ...], ...] | None:
    """Residuals of each step without the padding."""
    if residuals is None:
        return None
    return tuple(tuple(float(r) for r in step[:, i] if torch.isfinite(r)) for step in residuals)


def _keep_pictures(folder: Path, batch: Batch, asked: Asked, drawn: Drawn) -> None:
    make_folder(folder / "pictures")
    kept: dict[Kind, Tensor] = {"picture": batch.truth, "round-trip": batch.round_trip, "drawn": drawn.pixels}
    for kind, pixels in kept.items():
        for m, picture in zip(asked, images.to_pictures(pixels), strict=True):
            path = picture_path(folder, m, kind)
            if kind == "drawn" or not path.exists():
                images.save(picture, path)


@contextmanager
def _without_remark() -> Iterator[None]:
    """Silences renoise's remark that noises were drawn anew: in a comparison that is what the row shows."""
    log = logging.getLogger("renoise")
    log.addFilter(_is_worth_telling)
    try:
        yield
    finally:
        log.removeFilter(_is_worth_telling)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    return "the inversion does not hold that of" not in str(record.msg)


__all__ = ["Advance", "Task", "measure", "picture_path", "recompute", "versions"]
