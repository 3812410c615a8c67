"""Measures the rows of a run, picture by picture, and remembers what was measured."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renoise import images
from renoise.backbones.fingerprint import fingerprint
from renoise.editor import Editor
from renoise.errors import ConfigError, NumericalError, SchedulerError, StorageError, reason
from renoise.evaluation import data, metrics
from renoise.evaluation.batches import Batch, Targets
from renoise.evaluation.edit_metrics import edit_numbers
from renoise.evaluation.judges import Judges
from renoise.evaluation.measurement import Measurement, Results, finite, key_of
from renoise.evaluation.methods import Drawn, Noised
from renoise.evaluation.registry import method_from
from renoise.evaluation.runs import RUNS, Row, rows_of

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
        judges: of edits; without them some numbers are not available.
    """

    run: str
    editor: Editor
    source: str
    folder: Path
    limit: int | None = None
    seed: int = 0
    batch: int = 8
    judges: Judges = field(default_factory=Judges)

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


def measure(task: Task, progress: Callable[[Progress], None] | None = None) -> list[Measurement]:
    """Measure every row of a run on every picture, but for what the folder's `results.jsonl` has already.

    Args:
        task: what to measure.
        progress: called after each batch of each row.

    Returns:
        The measurements of this run, row by row.

    Raises:
        ConfigError: if the data set or the run is not there, or the data set has no edits for a run that draws them.
        ImageError: if a picture cannot be read.
        StorageError: if results cannot be read or written.
    """
    examples = data.load(task.source, limit=task.limit)
    if RUNS[task.run].edits:
        examples = data.editable(examples, task.source)
    rows = rows_of(task.run, task.editor, task.seed)
    make_folder(task.folder)
    results = Results(task.folder / "results.jsonl")
    model = fingerprint(task.editor.pipe)
    keys = {
        (row.label, example.name, target): key_of(_deciding(task, row, example, target, model))
        for row in rows
        for example in examples
        for target in _targets(task, example)
    }
    done, total = 0, len(keys)
    for start in range(0, len(examples), task.batch):
        some = examples[start : start + task.batch]
        wanted = {e.name: _targets(task, e) for e in some}
        whole: Batch | None = None
        for place, row in enumerate(rows):
            missing = {
                name: tuple(t for t in own if keys[row.label, name, t] not in results) for name, own in wanted.items()
            }
            if any(missing.values()):
                whole = Batch.of(task.editor, some, list(wanted.values()), task.judges) if whole is None else whole
                for batch in whole.with_targets(missing):
                    found = _measure_row(task, row, place, batch)
                    results.add(replace(m, key=keys[row.label, m.picture, m.target]) for m in found)
            done += sum(map(len, wanted.values()))
            if progress is not None:
                progress(Progress(done, total, row.label))
    return results.get(keys.values())


def _targets(task: Task, example: data.Example) -> Targets:
    return tuple(dict.fromkeys(example.targets)) if RUNS[task.run].edits else (None,)


def recompute(measurement: Measurement, editor: Editor, judges: Judges | None = None) -> Measurement:
    """Measure one picture under one row again, from its record alone.

    The same up to the rounding of float32, which depends on how many pictures are worked on at a time.

    Args:
        measurement: the record.
        editor: the model that it names.
        judges: those of an edit, which its `versions` name; without them their numbers are not available.

    Raises:
        ConfigError: if the record's picture or method is not there any more.
    """
    example = next((e for e in data.load(measurement.data) if e.name == measurement.picture), None)
    if example is None:
        raise ConfigError(f"{measurement.data} has no picture {measurement.picture!r} any more; look for the old data")
    judges = Judges() if judges is None else judges
    task = Task(measurement.run, editor, measurement.data, Path(), seed=measurement.seed, judges=judges)
    row = Row(measurement.method, method_from(measurement.settings), measurement.prompt, measurement.guidance)
    batch = Batch.of(editor, [example], [(measurement.target,)], judges)
    again = _measure_row(task, row, measurement.row, batch, keep=False)[0]
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


def picture_path(folder: Path, kind: str, name: str, target: str | None = None) -> Path:
    """Where a picture of a run lies.

    Args:
        folder: the run's.
        kind: a row's place, "picture" or "round-trip".
        name: the picture's in its data set.
        target: what it was edited to show; None where it was not.
    """
    stem = Path(_safe(name, "-_.")).stem
    if target is not None:
        # Long prompts may begin alike.
        stem += f"--{_safe(target, '-')[:40]}-{key_of({'target': target})[:6]}"
    return folder / "pictures" / kind / f"{stem}.jpg"


def _safe(name: str, punctuation: str) -> str:
    return "".join(c if c.isalnum() or c in punctuation else "_" for c in name)


def versions() -> dict[str, str]:
    """Of everything whose change may change a number."""
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _deciding(task: Task, row: Row, example: data.Example, target: str | None, model: object) -> dict[str, object]:
    """Everything on which a measurement depends, but for versions: an upgrade must not throw results away unasked."""
    edit = {"target": target, "guidance": row.guidance, "judges": task.judges.identities}
    return ({} if target is None else edit) | {
        "model": model,
        "dtype": str(task.editor.dtype),
        "data": task.source,
        "picture": example.name,
        "prompt": example.prompt if row.prompt is None else row.prompt,
        "settings": row.method.settings(),
        "run": task.run,
        "label": row.label,
    }


def _measure_row(task: Task, row: Row, place: int, batch: Batch, *, keep: bool = True) -> list[Measurement]:
    """The measurements of a batch.

    Where it fails, each picture and then each target is tried alone, so that one cannot spoil the others.
    """
    begun = time.perf_counter()
    prompts = [e.prompt if row.prompt is None else row.prompt for e in batch.examples]
    count = len(prompts)
    found: list[Measurement] = []
    try:
        with _without_warnings():
            noised = row.method.invert(task.editor, batch.z_0, prompts)
            inverting = time.perf_counter() - begun
            for targets in zip(*batch.targets, strict=True):
                begun = time.perf_counter()
                drawn = noised.draw([t for t in targets if t is not None] or None, row.guidance)
                seconds = (inverting + time.perf_counter() - begun) / count
                if keep:
                    _keep_pictures(task.folder, place, batch, targets, drawn)
                for i, target in enumerate(targets):
                    numbers = _numbers(batch, i, noised, drawn) | _edit_numbers(batch, i, drawn, target, task.judges)
                    empty = _empty(task, row, place, batch.examples[i], target)
                    found.append(replace(empty, seconds=seconds, **numbers))
    except (NumericalError, SchedulerError, ConfigError) as error:
        if batch.drawings > 1:
            return [m for part in batch.divided() for m in _measure_row(task, row, place, part, keep=keep)]
        empty = _empty(task, row, place, batch.examples[0], batch.targets[0][0])
        return [replace(empty, error=" ".join(str(error).split()))]
    return found


def _numbers(batch: Batch, i: int, noised: Noised, drawn: Drawn) -> dict[str, Any]:
    """What is measured of every picture that was drawn, by the names of a `Measurement`'s fields."""
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


def _empty(task: Task, row: Row, place: int, example: data.Example, target: str | None) -> Measurement:
    method = row.method
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
        versions=versions() | task.judges.identities,
        target=target,
        kind=None if target is None else example.kind,
        guidance=None if target is None else row.guidance,
    )


def _decibels(a: Tensor, b: Tensor) -> float:
    return min(float(images.psnr(a, b)), metrics.HIGHEST_PSNR)


def _optional(value: Tensor | None) -> float | None:
    return None if value is None else finite(float(value))


def _history(residuals: Tensor | None, i: int) -> tuple[tuple[float, ...], ...] | None:
    """Residuals of each step without the padding."""
    if residuals is None:
        return None
    return tuple(tuple(float(r) for r in step[:, i] if torch.isfinite(r)) for step in residuals)


def _keep_pictures(folder: Path, place: int, batch: Batch, targets: Targets, drawn: Drawn) -> None:
    nothing = (None,) * len(targets)
    own = f"{place:02d}"
    for kind, pixels, texts in (
        ("picture", batch.truth, nothing),
        ("round-trip", batch.round_trip, nothing),
        (own, drawn.pixels, targets),
    ):
        for example, text, picture in zip(batch.examples, texts, images.to_pictures(pixels), strict=True):
            path = picture_path(folder, kind, example.name, text)
            if kind != own and path.exists():
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
