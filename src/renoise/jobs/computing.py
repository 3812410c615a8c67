"""A batch of rows through an editor: inverted, measured and edited, image by image where the batch fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from renoise.checks import dtype_name
from renoise.config import InversionConfig
from renoise.editor import Editor
from renoise.errors import RenoiseError
from renoise.escaping import shown
from renoise.failing import is_out_of_memory
from renoise.fingerprint import fingerprint
from renoise.inversion import Inversion
from renoise.jobs.batches import Piece, load
from renoise.jobs.rows import Row
from renoise.jobs.seeds import seed_of
from renoise.jobs.settings import JobSettings
from renoise.progress import Progress
from renoise.quality import Quality
from renoise.schedulers import describe

_LONGEST_ERROR = 500


@dataclass(frozen=True, eq=False)
class Made:
    """What became of a row that could be worked on.

    Attributes:
        row: the row.
        edits: an image for each target; none if it failed.
        passes: the network passes that it took in all.
        inversion: of the image, kept only where it was asked for.
        residual: the largest residual of a step.
        converged: whether all steps came near their fixed points; None of a direct walk, which solves nothing.
        quality: how true the reconstruction from the noise alone is; None unless asked for.
        error: what went wrong; None if nothing did.
    """

    row: Row
    edits: tuple[Image.Image, ...] = ()
    passes: int = 0
    inversion: Inversion | None = None
    residual: float | None = None
    converged: bool | None = None
    quality: Quality | None = None
    error: str | None = None


class Computing:
    """An editor and what is asked of it.

    Args:
        editor: the loaded model.
        settings: the job's.

    Raises:
        RenoiseError: if the settings do not fit the model.
    """

    def __init__(self, editor: Editor, settings: JobSettings) -> None:
        self.editor = editor
        self.config: InversionConfig = settings.config(editor)
        self._settings = settings
        self.editor.timesteps(self.config)  # refuses a sampler that cannot be inverted
        self._guidance = (
            editor.edit_guidance(self.config) if settings.guidance_scale is None else settings.guidance_scale
        )

    def facts(self) -> dict[str, Any]:
        """Return what decides results of the model: its fingerprint, type, device, sampler and settings."""
        return {
            "fingerprint": fingerprint(self.editor.pipe),
            "dtype": dtype_name(self.editor.dtype),
            "device": self.editor.device.type,
            "scheduler": describe(self.editor.pipe.scheduler),
            "config": self.config.to_record(),
        }

    def run(self, pieces: Sequence[Piece]) -> list[Made]:
        """Work on a batch; if that fails, on each of its images alone."""
        readable, made = [], []
        for piece in pieces:
            try:
                readable.append((piece.row, load(piece.row)))
            except RenoiseError as error:
                made.append(Made(piece.row, error=str(error)))
        return made + self._together(readable) if readable else made

    def _together(self, rows: Sequence[tuple[Row, Image.Image]]) -> list[Made]:
        try:
            return self._made(rows)
        except Exception as error:  # whatever the libraries raise for a row must not end the job
            if len(rows) == 1:
                return [Made(rows[0][0], error=told(error))]
        # Outside of the handler, which would keep the batch's tensors alive where memory is short.
        return [made for one in rows for made in self._together([one])]

    def _made(self, rows: Sequence[tuple[Row, Image.Image]]) -> list[Made]:
        settings, editor = self._settings, self.editor
        seeds = [seed_of(row.id, settings.seed) for row, _ in rows]
        prepared = editor.prepare([image for _, image in rows], settings.fit)
        wants_source = settings.strength is not None or settings.keep is not None
        inversion = editor.invert(
            prepared,
            [row.prompt or "" for row, _ in rows],
            config=self.config,
            negative_prompt=settings.negative_prompt if editor.is_guided(self.config) else None,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            edit_data="float32" if wants_source else None,
        )
        counted = _Counted()
        qualities: Sequence[Quality | None] = [None] * len(rows)
        if settings.quality:
            again = editor.reconstruct(inversion.alone(), "pt", progress=counted)
            counted.close()
            qualities = editor.quality(prepared, again)
        edits = [self._edit(inversion, [row.targets[n] for row, _ in rows], counted) for n in _numbers(rows)]
        residuals = inversion.residuals.amax(dim=0)
        return [
            Made(
                row,
                tuple(drawn[i] for drawn in edits),
                int(inversion.passes[i]) + counted.passes,
                self._own(inversion, i, seeds[i]) if settings.inversions else None,
                float(residuals[i]),
                None if self.config.walking.direct else bool(inversion.converged[i]),
                qualities[i],
            )
            for i, (row, _) in enumerate(rows)
        ]

    def _edit(self, inversion: Inversion, targets: list[str], counted: _Counted) -> list[Image.Image]:
        settings = self._settings
        drawn: list[Image.Image] = self.editor.edit(
            inversion,
            targets,
            guidance_scale=self._guidance,
            negative_prompt=settings.negative_prompt,
            true_cfg_scale=settings.true_cfg_scale,
            strength=settings.strength,
            keep=settings.keep,
            guidance_rescale=settings.guidance_rescale,
            progress=counted,
        )
        counted.close()
        return drawn

    @staticmethod
    def _own(inversion: Inversion, index: int, seed: int) -> Inversion:
        """Return the inversion of one image; its generator was one with its seed, as an inversion alone has it."""
        own = inversion.one(index)
        return replace(own, seed=seed, config=replace(own.config, seed=seed))


class _Counted:
    """Counts the network passes of several pieces of work."""

    def __init__(self) -> None:
        self._ended = 0
        self._now = 0

    def __call__(self, progress: Progress) -> None:
        self._now = progress.done

    def close(self) -> None:
        """Take note that a piece of work has ended."""
        self._ended, self._now = self._ended + self._now, 0

    @property
    def passes(self) -> int:
        """All of them."""
        return self._ended + self._now


def told(error: Exception) -> str:
    """Return what went wrong in one line."""
    if isinstance(error, RenoiseError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory; use a smaller batch, float16 on a GPU, or a smaller model"
    return f"{type(error).__name__}: {shown(' '.join(str(error).split()), _LONGEST_ERROR)}"


def _numbers(rows: Sequence[tuple[Row, Image.Image]]) -> range:
    return range(len(rows[0][0].targets))
