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
from types import MappingProxyType
from typing import Any

from renoise import ConfigError, Editor, InversionConfig
from renoise.config import VARIANTS
from renoise.escaping import encodable
from renoise.evaluation import data, runs
from renoise.evaluation.batches import Asked
from renoise.evaluation.judges import Judges
from renoise.evaluation.keys import keyed
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import Presets, Row, Run
from renoise.ranges import LARGEST_SEED, whole

# An example with its place in its data set.
Numbered = tuple[int, data.Example]

_PACKAGES = ("renoise", "torch", "diffusers", "transformers", "torchmetrics", "numpy")


@dataclass(frozen=True)
class Task:
    """What to measure and where to keep it.

    Attributes:
        run: a name out of `runs.RUNS`, or any name if `rows` are given.
        editor: the model.
        source: the data set (`data.load`).
        folder: where results go; it is made if it does not exist.
        limit: how many images are measured; None is all.
        skip: how many images of the data set come before the first that is measured.
        seed: the seed of the sampler's noises in the rows of a named run, from 0 to 2^63 - 1, or a sequence of several
            seeds, with each of which every row measures every image.
        batch: how many images are worked on at a time.
        judges: the networks that judge edits; without them some numbers are not available.
        rows: rows to measure instead of the named run's, each with another label.
        edits: whether the images are drawn with their targets; None is what the named run does, and False with `rows`.

    Raises:
        ConfigError: if there is no such run, or it cannot be measured so.

    Examples:
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
    seed: int | Sequence[int] = 0
    batch: int = 8
    judges: Judges = field(default_factory=Judges)
    rows: Sequence[Row] | None = None
    edits: bool | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.run, str) or not self.run:
            raise ConfigError(f"a run must have a name, not {self.run!r}", argument="run")
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch}", argument="batch")
        object.__setattr__(self, "skip", whole(self.skip, "skip", 0))
        object.__setattr__(self, "source", os.fspath(self.source))
        object.__setattr__(self, "folder", Path(self.folder))
        edits = runs.named(self.run).edits if self.rows is None else bool(self.edits)
        if self.edits not in (None, edits):
            raise ConfigError(
                f"the run {self.run!r} has edits={edits}, not {self.edits}",
                argument="edits",
                remedy="give rows for another run",
            )
        object.__setattr__(self, "edits", edits)
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(self.rows))
            labels = [row.label for row in self.rows]
            if not labels or len(set(labels)) < len(labels):
                raise ConfigError(f"give at least one row, and every row another label, not {labels}", argument="rows")
        self._settle_seeds()

    def _settle_seeds(self) -> None:
        given = self.seed if isinstance(self.seed, Sequence) and not isinstance(self.seed, str) else (self.seed,)
        seeds = tuple(whole(seed, "seed", 0, LARGEST_SEED) for seed in given)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"give at least one seed, and each seed once, not {list(seeds)}", argument="seed")
        if self.rows is not None and len(seeds) > 1:
            raise ConfigError(
                f"{len(seeds)} seeds are given for rows whose methods have their own seeds",
                argument="seed",
                remedy="give one seed here, and a row with another label for each seed",
            )
        object.__setattr__(self, "seed", seeds[0] if len(seeds) == 1 else seeds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, of which there is at least one."""
        return (self.seed,) if isinstance(self.seed, int) else tuple(self.seed)

    @property
    def plan(self) -> Run:
        """The run as a value: the named one, or one that has the given rows."""
        own = self.rows
        if own is None:
            return runs.named(self.run)
        return Run(runs.ABOUT_OWN, lambda presets: tuple(own), bool(self.edits))

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The rows with each seed, row by row."""
        every = [
            Planned(row, place, seed)
            for seed in self.seeds
            for place, row in enumerate(self.plan.rows(presets_of(self.editor, seed)))
        ]
        return tuple(sorted(every, key=lambda planned: planned.place))


@dataclass(frozen=True)
class Planned:
    """A row at its place in the run, with the seed that it is measured with."""

    row: Row
    place: int
    seed: int


def presets_of(editor: Editor, seed: int) -> Presets:
    """Return the presets of an editor's model by the names of their variants, all with one seed."""
    return {variant: replace(InversionConfig.for_pipeline(editor.pipe, variant), seed=seed) for variant in VARIANTS}


def numbered_examples(task: Task, examples: Sequence[data.Example] | None) -> list[Numbered]:
    """Return the examples with their places in the data set; for a run that edits, only those that have targets.

    Given examples are the data set from its beginning.
    """
    source = str(task.source)
    end = None if task.limit is None else task.skip + task.limit
    loaded = data.load(source, limit=end) if examples is None else examples[:end]
    numbered = list(enumerate(data.without_first(loaded, task.skip, source), start=task.skip))
    if not task.edits:
        return numbered
    data.editable([example for _, example in numbered], source)
    return [(index, example) for index, example in numbered if example.targets]


def example_of(measurement: Measurement) -> Numbered:
    """Return a record's example, and load as few of the others as possible."""
    for limit in (None,) if measurement.index is None else (measurement.index + 1, None):
        for index, example in enumerate(data.load(measurement.data, limit=limit)):
            if example.name == measurement.image:
                return index, example
    raise ConfigError(
        f"{measurement.data} has no image {measurement.image!r} any more",
        argument="measurement",
        remedy="look for the old data",
    )


def targets_of(task: Task, example: data.Example) -> tuple[str | None, ...]:
    """Return the targets that an image is drawn with, each once; None stands for its reconstruction."""
    return tuple(dict.fromkeys(example.targets)) if task.edits else (None,)


def ask(task: Task, model: Mapping[str, Any], planned: Planned, numbered: Numbered, digest: str) -> Asked:
    """Return a measurement for each target of an image under a row and a seed, with its key and without numbers.

    `model` is what `keys.model_facts` says, and `digest` that of the `Fitted` image, empty if it cannot be read.
    """
    index, example = numbered
    row, method, settings = planned.row, planned.row.method, planned.row.method.settings()
    asked = Measurement(
        key="",
        run=task.run,
        label=row.label,
        row=planned.place,
        data=_named(str(task.source)),
        image=example.name,
        prompt=example.prompt if row.prompt is None else row.prompt,
        settings=settings,
        num_inversion_steps=method.num_inversion_steps,
        num_steps=method.num_denoising_steps,
        iterations=method.iterations,
        seed=_seed(settings, planned.seed),
        versions={**versions(), **task.judges.identities},
        guidance=row.guidance if task.edits else None,
        index=index,
        image_hash=digest,
        series=row.series,
        **model,
    )
    return tuple(
        keyed(replace(asked, target=target, edit_type=None if target is None else example.edit_type_of(target)))
        for target in targets_of(task, example)
    )


def _named(source: str) -> str:
    """Return a data set's name for records; a path is made absolute, so that it is found from anywhere."""
    path = os.path.expanduser(source)
    return encodable(str(Path(path).absolute()) if source not in data.BUNDLED and os.path.exists(path) else source)


def _seed(settings: Mapping[str, Any], otherwise: int) -> int:
    """Return a method's seed, if it has one."""
    config = settings.get("config")
    own = settings.get("seed", config.get("seed") if isinstance(config, Mapping) else None)
    return own if isinstance(own, int) else otherwise


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of everything whose change may change a number."""
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return MappingProxyType(found)
