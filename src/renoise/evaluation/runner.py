"""Measures the rows of a run, picture by picture, and remembers what was measured."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from renoise import images
from renoise.backbones.fingerprint import fingerprint
from renoise.editor import Editor
from renoise.errors import ConfigError, NumericalError, SchedulerError, StorageError, reason
from renoise.evaluation import data, metrics
from renoise.evaluation.measurement import Measurement, Results, finite, key_of
from renoise.evaluation.methods import Drawn, Noised
from renoise.evaluation.registry import method_from
from renoise.evaluation.runs import RUNS, Row, rows_of

# Equal pictures have an infinite PSNR, of which no mean can be taken.
HIGHEST_PSNR = 150.0
_PACKAGES = ("renoise", "torch", "diffusers", "transformers", "torchmetrics", "numpy")


@dataclass(frozen=True)
class Task:
    """What to measure and where to keep it.

    Attributes:
        run: a name out of `runs.RUNS`.
        editor: the model.
        source: the data set (`data.load`).
        folder: where results go; made if it is not there.
        limit: how many pictures; None is all.
        seed: of the sampler's noises.
        batch: how many pictures are worked on at a time.
    """

    run: str
    editor: Editor
    source: str
    folder: Path
    limit: int | None = None
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        if self.run not in RUNS:
            raise ConfigError(f"the run {self.run!r} is unknown; use one of {', '.join(RUNS)}")
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch}")


@dataclass(frozen=True)
class Progress:
    """What a `progress` callable is told after each batch of each row.

    Attributes:
        done: measurements so far.
        total: measurements in all.
        label: the row's.
    """

    done: int
    total: int
    label: str


@dataclass(frozen=True)
class _Batch:
    """Pictures as the model sees them, with what bounds their reconstruction."""

    examples: Sequence[data.Example]
    truth: Tensor
    z_0: Tensor
    round_trip: Tensor


def measure(task: Task, progress: Callable[[Progress], None] | None = None) -> list[Measurement]:
    """Measure every row of a run on every picture, but for what the folder's `results.jsonl` has already.

    Args:
        task: what to measure.
        progress: called after each batch of each row.

    Returns:
        The measurements of this run, row by row.

    Raises:
        ConfigError: if the data set or the run is not there.
        ImageError: if a picture cannot be read.
        StorageError: if results cannot be read or written.
    """
    examples = data.load(task.source, limit=task.limit)
    rows = rows_of(task.run, task.editor, task.seed)
    make_folder(task.folder)
    results = Results(task.folder / "results.jsonl")
    model = fingerprint(task.editor.pipe)
    keys = {
        (row.label, example.name): key_of(_deciding(task, row, example, model)) for row in rows for example in examples
    }
    done, total = 0, len(keys)
    for start in range(0, len(examples), task.batch):
        some = examples[start : start + task.batch]
        batch: _Batch | None = None
        for place, row in enumerate(rows):
            missing = [e for e in some if keys[row.label, e.name] not in results]
            if missing:
                batch = _encode(task.editor, some) if batch is None else batch
                wanted = [i for i, e in enumerate(some) if e in missing]
                found = _measure_row(task, row, place, _part(batch, wanted))
                results.add(replace(m, key=keys[row.label, m.picture]) for m in found)
            done += len(some)
            if progress is not None:
                progress(Progress(done, total, row.label))
    return results.get(keys.values())


def recompute(measurement: Measurement, editor: Editor) -> Measurement:
    """Measure one picture under one row again, from its record alone.

    The same up to the rounding of float32, which depends on how many pictures are worked on at a time.

    Args:
        measurement: the record.
        editor: the model that it names.

    Raises:
        ConfigError: if the record's picture or method is not there any more.
    """
    example = next((e for e in data.load(measurement.data) if e.name == measurement.picture), None)
    if example is None:
        raise ConfigError(f"{measurement.data} has no picture {measurement.picture!r} any more; look for the old data")
    task = Task(measurement.run, editor, measurement.data, Path(), seed=measurement.seed)
    row = Row(measurement.method, method_from(measurement.settings), measurement.prompt)
    again = _measure_row(task, row, measurement.row, _encode(editor, [example]), keep=False)[0]
    return replace(again, key=measurement.key)


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        StorageError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {reason(error)}; name another") from error


def picture_path(folder: Path, kind: str, name: str) -> Path:
    """Where a picture of a run lies: `kind` is a row's place, "picture" or "round-trip"."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return folder / "pictures" / kind / f"{Path(safe).stem}.jpg"


def versions() -> dict[str, str]:
    """Of everything whose change may change a number."""
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _deciding(task: Task, row: Row, example: data.Example, model: object) -> dict[str, object]:
    """Everything on which a measurement depends, but for versions: an upgrade must not throw results away unasked."""
    return {
        "model": model,
        "dtype": str(task.editor.dtype),
        "data": task.source,
        "picture": example.name,
        "prompt": example.prompt if row.prompt is None else row.prompt,
        "settings": row.method.settings(),
        "run": task.run,
        "label": row.label,
    }


def _encode(editor: Editor, examples: Sequence[data.Example]) -> _Batch:
    fitted: list[Image.Image] = editor.fit([e.picture for e in examples])
    z_0 = editor.encode(fitted)
    return _Batch(examples, images.to_tensor(fitted), z_0, editor.decode(z_0, "pt").cpu())


def _part(batch: _Batch, wanted: Sequence[int]) -> _Batch:
    if len(wanted) == len(batch.examples):
        return batch
    some = list(wanted)
    return _Batch([batch.examples[i] for i in some], batch.truth[some], batch.z_0[some], batch.round_trip[some])


def _measure_row(task: Task, row: Row, place: int, batch: _Batch, *, keep: bool = True) -> list[Measurement]:
    """The measurements of a batch; where it fails, each picture is tried alone, so that one cannot spoil the others."""
    begun = time.perf_counter()
    prompts = [e.prompt if row.prompt is None else row.prompt for e in batch.examples]
    try:
        with _without_warnings():
            noised = row.method.invert(task.editor, batch.z_0, prompts)
            drawn = noised.draw(None, None)
    except (NumericalError, SchedulerError, ConfigError) as error:
        if len(batch.examples) > 1:
            alone = [_part(batch, [i]) for i in range(len(batch.examples))]
            return [m for one in alone for m in _measure_row(task, row, place, one, keep=keep)]
        return [replace(_empty(task, row, place, batch, 0), error=" ".join(str(error).split()))]
    seconds = (time.perf_counter() - begun) / len(batch.examples)
    if keep:
        _keep_pictures(task.folder, place, batch, drawn)
    return [_measured(task, row, place, batch, i, noised, drawn, seconds) for i in range(len(batch.examples))]


def _measured(
    task: Task, row: Row, place: int, batch: _Batch, i: int, noised: Noised, drawn: Drawn, seconds: float
) -> Measurement:
    again, truth, bound = (x[i : i + 1] for x in (drawn.pixels, batch.truth, batch.round_trip))
    return replace(
        _empty(task, row, place, batch, i),
        l2=finite(float(metrics.l2(again, truth))),
        psnr=_decibels(again, truth),
        ssim=finite(float(metrics.ssim(again, truth))),
        ms_ssim=_optional(metrics.ms_ssim(again, truth)),
        lpips=_optional(metrics.lpips(again, truth)),
        psnr_roundtrip=_decibels(again, bound),
        psnr_bound=_decibels(bound, truth),
        passes_inversion=noised.passes,
        passes_denoising=drawn.passes,
        seconds=seconds,
        deviation=finite(float(noised.latents[i].std())),
        residual_history=_history(noised.residuals, i),
        timesteps=noised.timesteps,
    )


def _empty(task: Task, row: Row, place: int, batch: _Batch, i: int) -> Measurement:
    example, method = batch.examples[i], row.method
    return Measurement(
        key="",
        run=task.run,
        method=row.label,
        row=place,
        model=task.editor.name or type(task.editor.pipe).__name__,
        dtype=str(task.editor.dtype).removeprefix("torch."),
        device=str(task.editor.device),
        data=task.source,
        picture=example.name,
        prompt=example.prompt if row.prompt is None else row.prompt,
        settings=method.settings(),
        num_inversion_steps=method.num_inversion_steps,
        num_steps=method.num_denoising_steps,
        iterations=method.iterations,
        seed=task.seed,
        versions=versions(),
    )


def _decibels(a: Tensor, b: Tensor) -> float:
    return min(float(images.psnr(a, b)), HIGHEST_PSNR)


def _optional(value: Tensor | None) -> float | None:
    return None if value is None else finite(float(value))


def _history(residuals: Tensor | None, i: int) -> tuple[tuple[float, ...], ...] | None:
    """Residuals of each step without the padding."""
    if residuals is None:
        return None
    return tuple(tuple(float(r) for r in step[:, i] if torch.isfinite(r)) for step in residuals)


def _keep_pictures(folder: Path, place: int, batch: _Batch, drawn: Drawn) -> None:
    for kind, pixels in (("picture", batch.truth), ("round-trip", batch.round_trip), (f"{place:02d}", drawn.pixels)):
        for example, picture in zip(batch.examples, images.to_pictures(pixels), strict=True):
            path = picture_path(folder, kind, example.name)
            if kind != f"{place:02d}" and path.exists():
                continue
            make_folder(path.parent)
            images.save(picture, path)


class _without_warnings:
    """Silences renoise's remark that noises were drawn anew: in a comparison that is what the row shows."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("renoise")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


__all__ = ["Progress", "Task", "make_folder", "measure", "picture_path", "recompute", "versions"]
