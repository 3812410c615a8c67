"""What is asked of a run: which rows of which images, each as a measurement that has its key and no numbers yet."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from renoise.editor import Editor
from renoise.errors import ConfigError
from renoise.evaluation import data
from renoise.evaluation.judges import Judges
from renoise.evaluation.keys import Identity, keyed
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import Row, draws_edits, require_known

# An example with its place in its data set.
Numbered = tuple[int, data.Example]

_PACKAGES = ("renoise", "torch", "diffusers", "transformers", "torchmetrics", "numpy")


@dataclass(frozen=True)
class Task:
    """What to measure and where to keep it.

    Attributes:
        run: a name out of `runs.RUNS`, or with `rows` any name. What is called `editing` draws edits.
        editor: the model.
        source: the data set (`data.load`).
        folder: where results go; made if it is not there.
        limit: how many images; None is all.
        seed: of the sampler's noises, in the run's own rows.
        batch: how many images are worked on at a time.
        judges: of edits; without them some numbers are not available.
        rows: rows of one's own in place of the run's, each with a label of its own.

    Raises:
        ConfigError: if there is no such run, or it cannot be measured so.

    Example:
        >>> config = InversionConfig(num_steps=4, renoising=Renoising(0))  # doctest: +SKIP
        >>> rows = [
        ...     Row("reversing", ReNoise(config)),
        ...     Row("3 iterations", ReNoise(replace(config, renoising=Renoising(3)))),
        ... ]  # doctest: +SKIP
        >>> task = Task("iterations", editor, "pictures/", "results/", rows=rows)  # doctest: +SKIP
        >>> summary = outputs.write("results/", "iterations", measure(task))  # doctest: +SKIP
    """

    run: str
    editor: Editor
    source: str | Path
    folder: str | Path
    limit: int | None = None
    seed: int = 0
    batch: int = 8
    judges: Judges = field(default_factory=Judges)
    rows: Sequence[Row] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.run, str) or not self.run:
            raise ConfigError(f"a run must have a name, not {self.run!r}")
        if self.rows is None:
            require_known(self.run)
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch}")
        object.__setattr__(self, "source", os.fspath(self.source))
        object.__setattr__(self, "folder", Path(self.folder))
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(self.rows))
            labels = [row.label for row in self.rows]
            if not labels or len(set(labels)) < len(labels):
                raise ConfigError(f"rows must be some, each with a label of its own, not {labels}")


def numbered_examples(task: Task, examples: Sequence[data.Example] | None) -> list[Numbered]:
    """The examples with their places in the data set; of a run that edits, those that have targets."""
    source = str(task.source)
    if examples is None:
        examples = data.load(source, limit=task.limit)
    numbered = list(enumerate(examples[: task.limit]))
    if not draws_edits(task.run):
        return numbered
    data.editable([example for _, example in numbered], source)
    return [(index, example) for index, example in numbered if example.targets]


def example_of(measurement: Measurement) -> Numbered:
    """A record's example, without looking at those behind it if that can be."""
    if measurement.index is not None:
        some = data.load(measurement.data, limit=measurement.index + 1)
        if len(some) == measurement.index + 1 and some[-1].name == measurement.picture:
            return measurement.index, some[-1]
    for index, example in enumerate(data.load(measurement.data)):
        if example.name == measurement.picture:
            return index, example
    raise ConfigError(f"{measurement.data} has no image {measurement.picture!r} any more; look for the old data")


def targets_of(task: Task, example: data.Example) -> tuple[str | None, ...]:
    """What an image is drawn as: with each of its targets once, or with its own prompt for None."""
    return tuple(dict.fromkeys(example.targets)) if draws_edits(task.run) else (None,)


def ask(
    task: Task,
    model: Identity,
    row: Row,
    place: int,
    numbered: Numbered,
    target: str | None,
    picture_hash: str,
) -> Measurement:
    """A measurement with its key and without its numbers.

    Args:
        task: what it is for.
        model: the task's.
        row: how the image is inverted.
        place: the row's in its run.
        numbered: the image.
        target: what it is drawn as.
        picture_hash: `Fitted.digest`; empty where the image cannot be read.
    """
    index, example = numbered
    method, settings = row.method, row.method.settings()
    return keyed(
        Measurement(
            key="",
            run=task.run,
            method=row.label,
            row=place,
            model=model.name,
            dtype=model.dtype,
            device=str(task.editor.device),
            data=_named(str(task.source)),
            picture=example.name,
            prompt=example.prompt if row.prompt is None else row.prompt,
            settings=settings,
            num_inversion_steps=method.num_inversion_steps,
            num_steps=method.num_denoising_steps,
            iterations=method.iterations,
            seed=_seed(settings, task.seed),
            versions=versions() | task.judges.identities,
            target=target,
            kind=None if target is None else example.kind,
            guidance=None if target is None else row.guidance,
            index=index,
            model_hash=model.fingerprint,
            scheduler=model.scheduler,
            picture_hash=picture_hash,
        )
    )


def _named(source: str) -> str:
    """A data set as records call it: where it is a path, an absolute one, so that it is found from anywhere."""
    path = os.path.expanduser(source)
    return str(Path(path).absolute()) if source != data.HELDOUT and os.path.exists(path) else source


def _seed(settings: Mapping[str, Any], otherwise: int) -> int:
    """The seed of a method that has one."""
    config = settings.get("config")
    own = settings.get("seed", config.get("seed") if isinstance(config, Mapping) else None)
    return own if isinstance(own, int) else otherwise


def renamed(found: Measurement, asked: Measurement) -> Measurement:
    """What was measured, perhaps long ago, under the names and in the place that it has now."""
    names = ("row", "data", "picture", "index", "kind")
    return replace(found, **{name: getattr(asked, name) for name in names})


def versions() -> dict[str, str]:
    """Of everything whose change may change a number."""
    return dict(_versions())


@cache
def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
