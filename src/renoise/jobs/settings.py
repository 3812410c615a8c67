"""What a job is: settings that decide its results, and those that only say how it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from renoise.config import VARIANTS
from renoise.edit_rules import KEEP
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.files import as_path
from renoise.images import require_fit
from renoise.jobs.columns import Columns
from renoise.named_presets import split
from renoise.ranges import LARGEST_SEED, number, store, truth, whole
from renoise.records import read_settings

if TYPE_CHECKING:
    from renoise.config import InversionConfig
    from renoise.editor import Editor

Engine = Literal["local", "ray"]
ENGINES = get_args(Engine)
DEFAULT_ROWS = 64
# Failures that stop a job: one row in so many, and no fewer than so many.
FAILING_SHARE, FEWEST_FAILURES = 10, 20
_MOST_THREADS = 1024


@dataclass(frozen=True)
class JobSettings:
    """Everything that decides the results of a job but its input. Frozen, checked, and recorded in its manifest.

    Attributes:
        to: what the edits of all rows shall show. Either this or `targets_column` is needed.
        targets_column: the column with a target, or a list of them, for each row.
        image_column: the column of images; None looks for one of the usual names.
        caption_column: the column of captions; None likewise.
        id_column: the column of ids; None takes "id" or a shard's names, or makes ids from the rows' content.
        prompt: what all images show, in place of captions.
        model: as `Editor.from_pretrained` takes it, and so `lora`, `device`, `dtype`, `compile`, `sampler` and
            `spacing`.
        preset: the settings of the inversion to begin with (see `Editor.config`), or the model of a few steps that this
            is, alone or with them (see `InversionConfig.for_pipeline`); and so `num_steps`, `iterations`,
            `depth` (its `strength`), `inversion_guidance` (its `guidance_scale`), `edit_losses`, `noise_correction`,
            `timesteps`, `sigmas` and `clip_skip`.
        seed: of the job; each row has a seed that follows from this one and its id.
        fit: how images come to the model's size (see `Editor.invert`).
        strength: how much edits change (see `Editor.edit`), and so `keep`, `guidance_scale`, `true_cfg_scale`,
            `negative_prompt` and `guidance_rescale`.
        inversions: whether to write inversions too.
        quality: whether to draw every image again from its noise alone, to measure how true that is. It costs as many
            network passes as an edit.
        batch: the most images that are worked on at a time.
        rows_per_block: the rows whose results stand in one file, and are done again if a job ends amid them.
        threads: the threads with which a worker calculates on a CPU. Results differ in their last bits with another
            number, so that it does not follow from the machine.

    Raises:
        ConfigError: for a setting out of its range, or settings that do not fit each other.

    Examples:
        >>> JobSettings(to="a dog").to
        ('a dog',)
    """

    to: Sequence[str] = ()
    targets_column: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    id_column: str | None = None
    prompt: str | None = None
    model: str = "mini"
    lora: Sequence[str] = ()
    device: str | None = None
    dtype: str | None = None
    compile: bool = False
    sampler: str | None = None
    spacing: str | None = None
    preset: str | None = None
    num_steps: int | None = None
    iterations: int | None = None
    depth: float | None = None
    inversion_guidance: float | None = None
    seed: int = 0
    edit_losses: bool | None = None
    noise_correction: float | None = None
    timesteps: Sequence[float] | None = None
    sigmas: Sequence[float] | None = None
    clip_skip: int | None = None
    fit: str = "crop"
    strength: float | None = None
    keep: str | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: str | None = None
    guidance_rescale: float | None = None
    inversions: bool = False
    quality: bool = True
    batch: int = 8
    rows_per_block: int = DEFAULT_ROWS
    threads: int = 1

    def __post_init__(self) -> None:
        store(
            self,
            to=_texts(self.to, "to"),
            lora=_texts(self.lora, "lora"),
            model=str(as_path(self.model, ConfigError)) if isinstance(self.model, os.PathLike) else self.model,
            timesteps=_numbers(self.timesteps),
            sigmas=_numbers(self.sigmas),
            seed=whole(self.seed, "seed", 0, LARGEST_SEED),
            batch=whole(self.batch, "batch", 1),
            rows_per_block=whole(self.rows_per_block, "rows_per_block", 1),
            threads=whole(self.threads, "threads", 1, _MOST_THREADS),
            inversions=truth(self.inversions, "inversions"),
            quality=truth(self.quality, "quality"),
            compile=truth(self.compile, "compile"),
        )
        for name in _TEXTS:
            _require_text(getattr(self, name), name)
        if (self.targets_column is None) != bool(self.to):
            raise ConfigError(
                "what edits shall show is said by ",
                Argument("to"),
                " for all rows alike, or by ",
                Argument("targets_column"),
                remedy="give one of them",
            )
        require_fit(self.fit)
        split(self.preset, VARIANTS)  # raises an error if there is no such preset
        if self.strength is not None:
            number(self.strength, "strength", 0.0, 1.0)
        if self.keep is not None and self.keep not in KEEP:
            raise ConfigError(Argument("keep"), f" must be one of {', '.join(KEEP)}, not {seen(self.keep)}")
        for name in ("guidance_scale", "true_cfg_scale"):
            if getattr(self, name) is not None:
                number(getattr(self, name), name, 0.0)

    @property
    def columns(self) -> Columns:
        """Which columns of the input hold what."""
        return Columns(
            self.image_column, self.caption_column, self.id_column, self.targets_column, self.prompt, tuple(self.to)
        )

    def editor(self) -> Editor:
        """Load the model.

        Raises:
            RenoiseError: if it cannot be loaded so.
        """
        from renoise.editor import Editor

        few_steps, _ = split(self.preset, VARIANTS)
        options = {
            "lora": list(self.lora) or None,
            "sampler": self.sampler,
            "spacing": self.spacing,
            "preset": None if few_steps is None else few_steps.name,
            "compile": self.compile,
        }
        return Editor.from_pretrained(self.model, dtype=self.dtype, device=self.device, **options)

    def config(self, editor: Editor) -> InversionConfig:
        """Return the settings of the inversions with a model.

        Raises:
            ConfigError: if a setting is out of its range, or does not fit the model.
        """
        config = editor.config(
            self.preset,
            num_steps=self.num_steps,
            iterations=self.iterations,
            strength=self.depth,
            guidance_scale=self.inversion_guidance,
            seed=self.seed,
            edit_losses=self.edit_losses,
            noise_correction=self.noise_correction,
            timesteps=self.timesteps,
            sigmas=self.sigmas,
            clip_skip=self.clip_skip,
        )
        return config.overridden(guidance_rescale=self.guidance_rescale) if editor.is_guided(config) else config

    @contextmanager
    def calculating(self) -> Iterator[None]:
        """Have torch calculate with the job's number of threads, and with its own number afterwards."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def to_record(self) -> dict[str, Any]:
        """Return the settings as JSON-able data, from which `from_record` makes equal ones."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> JobSettings:
        """Return the settings that `to_record` made a record of.

        Raises:
            ConfigError: if it is no such record, or a setting is out of its range.
        """
        return read_settings(record, cls, {}, lambda kind, value: value)


@dataclass(frozen=True)
class Running:
    """How a job runs, which decides none of its results and may change whenever it is resumed.

    Attributes:
        engine: "local", this process alone, or "ray".
        workers: how many processes work, each with a model of its own; more than one need Ray.
        gpus_per_worker: the share of a GPU that each takes; several may share one. 0 is a CPU alone.
        address: of a Ray cluster that runs already; None starts Ray on this machine, unless the environment names one.
        max_failures: so many failed rows stop the job; None is a tenth of its rows, and no fewer than 20.

    Raises:
        ConfigError: for a setting out of its range, or settings that do not fit each other.
    """

    engine: Engine = "local"
    workers: int = 1
    gpus_per_worker: float | None = None
    address: str | None = None
    max_failures: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(Argument("engine"), f" must be one of {', '.join(ENGINES)}, not {seen(self.engine)}")
        store(self, workers=whole(self.workers, "workers", 1))
        _require_text(self.address, "address")
        if self.gpus_per_worker is not None:
            share = number(self.gpus_per_worker, "gpus_per_worker", 0.0, 1024.0)
            if share > 1.0 and share != int(share):
                raise ConfigError(
                    Argument("gpus_per_worker"), f" must be at most 1 or a whole number of GPUs, not {share:g}"
                )
        if self.max_failures is not None:
            whole(self.max_failures, "max_failures", 1, 10**12)
        if self.engine == "local":
            given = {"workers": self.workers > 1, "gpus_per_worker": self.gpus_per_worker, "address": self.address}
            for name in (name for name, value in given.items() if value):
                raise ConfigError(
                    Argument(name),
                    " has no effect in this process alone, which is one worker",
                    remedy=("give ", Argument("engine", "ray"), ", or leave it out"),
                )

    def limit(self, rows: int) -> int:
        """Return how many failed rows of so many stop the job.

        Examples:
            >>> Running().limit(48), Running().limit(1_000_000), Running(max_failures=3).limit(48)
            (20, 100000, 3)
        """
        if self.max_failures is not None:
            return self.max_failures
        return max(FEWEST_FAILURES, rows // FAILING_SHARE)


def divided(knobs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide keyword arguments into those of `JobSettings` and those of `Running`.

    Raises:
        ConfigError: for a name that neither of them has.
    """
    own, running = ({field.name for field in fields(kind)} for kind in (JobSettings, Running))
    for name in knobs:
        if name not in own | running:
            raise ConfigError(
                f"a job has no setting {seen(name)}", remedy=f"use one of {', '.join(sorted(own | running))}"
            )
    return (
        {name: value for name, value in knobs.items() if name in own},
        {name: value for name, value in knobs.items() if name in running},
    )


_TEXTS = (
    *("targets_column", "image_column", "caption_column", "id_column", "prompt", "model", "device", "dtype", "sampler"),
    *("spacing", "preset", "fit", "keep", "negative_prompt"),
)


def _require_text(value: Any, name: str) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigError(Argument(name), f" must be a text, not {seen(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(Argument(name), f" {seen(value)} holds a lone surrogate", remedy="mend the text") from error


def _texts(value: Any, name: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)):
        raise ConfigError(Argument(name), f" must be a text or a list of texts, not {seen(value)}")
    for text in texts:
        _require_text("" if text is None else text, name)
        if not text:
            raise ConfigError(Argument(name), " holds an empty text", remedy="leave it out")
    return tuple(texts)


def _numbers(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
