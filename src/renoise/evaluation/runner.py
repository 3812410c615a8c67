"""Measures the rows of a run, image by image, and remembers what was measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renoise import ConfigError, Editor, RenoiseError, images
from renoise.errors import DrawnNoiseWarning, OtherStepsWarning
from renoise.evaluation import data, metrics
from renoise.evaluation.batches import Asked, Batch, Encoded, Fitted, batches, divided, encode, encode_each
from renoise.evaluation.edit_metrics import edit_numbers
from renoise.evaluation.folder import Role, image_path, make_folder, usable
from renoise.evaluation.judges import Judges
from renoise.evaluation.keys import differences, keyed, model_facts
from renoise.evaluation.measurement import Measurement, finite
from renoise.evaluation.methods import Drawn, Noised
from renoise.evaluation.noise_statistics import noise_statistics
from renoise.evaluation.registry import method_from
from renoise.evaluation.results import RESULTS, Results
from renoise.evaluation.runs import Row
from renoise.evaluation.task import Numbered, Planned, Task, ask, example_of, numbered_examples, targets_of, versions

__all__ = ["Advance", "Task", "measure", "recompute", "versions"]


# What of a measurement follows from the run that asks for it and decides no result. A method without noises gives the
# same measurement for every seed.
_NAMES = ("row", "data", "image", "index", "edit_type", "series", "seed")


@dataclass(frozen=True)
class Advance:
    """What a `progress` callable is told after each batch of each row: how many are measured, and the row's label."""

    done: int
    total: int
    label: str


def measure(
    task: Task,
    progress: Callable[[Advance], None] | None = None,
    examples: Sequence[data.Example] | None = None,
) -> list[Measurement]:
    """Measure every row of a run on every image, except for what the folder's `results.jsonl` already holds.

    An image that cannot be read, whose mask does not fit, or that cannot be encoded or drawn is a measurement that
    failed, and what failed is tried again the next time.

    Args:
        task: what to measure.
        progress: called after each batch of each row.
        examples: the task's data set, if it was loaded before.

    Returns:
        The measurements of this run, row by row, and of each row seed by seed.

    Raises:
        ConfigError: if the data set is missing, or has no edits for a run that draws them.
        StorageError: if results cannot be read or written, or another process is writing them.
        ImageError: if an image of the results cannot be written.
    """
    numbered = numbered_examples(task, examples)
    planned = task.planned
    model = model_facts(task.editor)
    asked: list[list[Measurement]] = [[] for _ in planned]
    done, total = 0, len(planned) * sum(len(targets_of(task, example)) for _, example in numbered)
    with usable(Path(task.folder)):
        results = Results(Path(task.folder) / RESULTS)
        for start in range(0, len(numbered), task.batch):
            group = _measure_group(task, model, planned, numbered[start : start + task.batch], results)
            for one, own, every in zip(planned, asked, group, strict=True):
                own += every
                done += len(every)
                if progress is not None:
                    progress(Advance(done, total, one.row.label))
    wanted = [m for own in asked for m in own]
    # An earlier measurement is given under the names and in the place that it has now.
    now = [{name: getattr(m, name) for name in _NAMES} for m in wanted]
    return [replace(m, **names) for m, names in zip(results.get(m.key for m in wanted), now, strict=True)]


def recompute(measurement: Measurement, editor: Editor, judges: Judges | None = None) -> Measurement:
    """Measure one image under one row again, from its record alone.

    The numbers are the same up to the rounding of float32, which depends on how many images are worked on at a time.

    Args:
        measurement: the record.
        editor: the model that the record names.
        judges: the judges of an edit, which the record's `versions` name; without them their numbers are None.

    Raises:
        ConfigError: if the record's image or method is missing, or they or the model are not the record's.
        ImageError: if the image cannot be read.
    """
    if not measurement.image_hash or not measurement.scheduler:
        raise ConfigError(
            f"the record of {measurement.image!r} does not tell which image and sampler were measured: the image "
            "could not be read, or an earlier version measured it",
            argument="measurement",
            remedy="measure its run again",
        )
    m, known = measurement, judges or Judges()
    row, edits = Row(m.label, method_from(m.settings), m.prompt, m.guidance, m.series), m.target is not None
    task = Task(m.run, editor, m.data, Path(), seed=m.seed, judges=known, rows=(row,), edits=edits)
    index, example = example_of(m)
    fitted = Fitted.of(editor, example, masked=edits)
    numbered = index, replace(example, targets=() if m.target is None else (m.target,))
    (asked,) = ask(task, model_facts(editor), Planned(row, m.row, m.seed), numbered, fitted.digest)
    # Without judges only their numbers are left out, so that the record's judges decide the key.
    like = asked if judges is not None else keyed(replace(asked, versions=measurement.versions))
    if like.key != measurement.key:
        differ = differences(measurement, like) or [
            "its settings or its prompt, which do not fit its key (they were changed, or another version wrote them)"
        ]
        raise ConfigError(
            f"the record of {measurement.image!r} under {measurement.label!r} cannot be measured again: "
            f"{' and '.join(differ)}",
            argument="measurement",
            remedy="give what was measured, or measure the run again",
        )
    asked = replace(asked, key=measurement.key, edit_type=measurement.edit_type)
    (batch,) = batches(encode(editor, [fitted], known), [(asked,)])
    return _measure_row(task, row, batch, keep=False)[0]


def _measure_group(
    task: Task, model: Mapping[str, Any], planned: Sequence[Planned], group: Sequence[Numbered], results: Results
) -> Iterator[list[Measurement]]:
    """Measure of some images what the results lack, and yield all that is asked of them, row by row.

    The images are fitted at once, to know what is missing, and encoded as soon as a row with a seed lacks one of them.
    """
    fitted = [_fit(task, example) for _, example in group]
    encoded: list[Encoded | RenoiseError] = []
    for each in planned:
        missing: list[tuple[Fitted, Asked]] = []
        every: list[Measurement] = []
        for f, numbered in zip(fitted, group, strict=True):
            asked = ask(task, model, each, numbered, f.digest if isinstance(f, Fitted) else "")
            every += asked
            if isinstance(f, Fitted):
                missing.append((f, tuple(m for m in asked if not results.done(m.key))))
            else:
                results.add(_failed(m, f) for m in asked)
        if any(own for _, own in missing):
            encoded = encoded or encode_each(task.editor, [f for f, _ in missing], task.judges)
            drawn: list[tuple[Encoded, Asked]] = []
            for one, (_, own) in zip(encoded, missing, strict=True):
                if isinstance(one, Encoded):
                    drawn.append((one, own))
                else:
                    results.add(_failed(m, one) for m in own)
            for batch in batches([one for one, _ in drawn], [own for _, own in drawn]):
                results.add(_measure_row(task, each.row, batch))
        yield every


def _fit(task: Task, example: data.Example) -> Fitted | RenoiseError:
    try:
        return Fitted.of(task.editor, example, masked=bool(task.edits))
    except RenoiseError as error:
        return error


def _failed(asked: Measurement, error: Exception) -> Measurement:
    return replace(asked, error=" ".join(str(error).split()))


def _measure_row(task: Task, row: Row, batch: Batch, *, keep: bool = True) -> list[Measurement]:
    """Return the measurements of a batch.

    Where the batch fails, each image and then each target is tried alone, so that one cannot spoil the others.
    """
    begun = time.perf_counter()
    prompts = [one.asked[0].prompt for one in batch]
    found: list[Measurement] = []
    made: list[tuple[Encoded, Measurement, Tensor]] = []
    try:
        # A row may ask for noises that its inversion does not hold, or for another number of steps: what that costs is
        # what the row shows.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DrawnNoiseWarning)
            warnings.simplefilter("ignore", OtherStepsWarning)
            noised = row.method.invert(task.editor, torch.cat([one.z_0 for one in batch]), prompts)
            inverting = time.perf_counter() - begun
            for asked in zip(*(one.asked for one in batch), strict=True):
                begun = time.perf_counter()
                drawn = noised.draw([m.target for m in asked if m.target is not None] or None, row.guidance)
                seconds = (inverting + time.perf_counter() - begun) / len(prompts)
                latents = task.editor.encode(drawn.pixels) if any(one.aims for one in batch) else None
                for i, (one, m) in enumerate(zip(batch, asked, strict=True)):
                    made.append((one, m, drawn.pixels[i : i + 1]))
                    numbers = _numbers(one, m, i, noised, drawn, task.judges)
                    if latents is not None and m.target in one.aims:
                        numbers |= one.aims[m.target].numbers(drawn.pixels[i : i + 1], latents[i])
                    found.append(replace(m, seconds=seconds, **numbers))
    except RenoiseError as error:
        if len(batch) > 1 or len(batch[0].asked) > 1:
            return [m for part in divided(batch) for m in _measure_row(task, row, part, keep=keep)]
        return [_failed(batch[0].asked[0], error)]
    for one, m, pixels in made if keep else ():
        _keep_images(Path(task.folder), one, m, pixels)
    return found


def _numbers(one: Encoded, asked: Measurement, i: int, noised: Noised, drawn: Drawn, judges: Judges) -> dict[str, Any]:
    """Return all that is measured of an image, the i-th of its batch, by the names of a `Measurement`'s fields."""
    again = drawn.pixels[i : i + 1]
    # The residuals of a step are padded with NaN.
    residuals = None if noised.residuals is None else noised.residuals[..., i]
    history = None if residuals is None else tuple(tuple(step[step.isfinite()].tolist()) for step in residuals)
    numbers: dict[str, Any] = {
        **metrics.numbers(again, one.truth, one.round_trip),
        "passes_inversion": noised.passes_of(i),
        "passes_denoising": drawn.passes,
        "deviation": finite(noised.latents[i].std()),
        **noise_statistics(noised.latents[i] / noised.scale),
        "residual_history": history,
        "timesteps": noised.timesteps,
    }
    if asked.target is None:
        return numbers
    aim = one.aims.get(asked.target)
    mask = one.mask if aim is None else aim.mask
    return numbers | edit_numbers(again, one.truth, asked.target, mask=mask, structure=one.structure, judges=judges)


def _keep_images(folder: Path, one: Encoded, asked: Measurement, drawn: Tensor) -> None:
    make_folder(folder / "pictures")
    kept: dict[Role, Tensor] = {"picture": one.truth, "round-trip": one.round_trip, "drawn": drawn}
    for role, pixels in kept.items():
        path = image_path(folder, asked, role)
        if role == "drawn" or not path.exists():
            images.save(images.to_pictures(pixels)[0], path)
