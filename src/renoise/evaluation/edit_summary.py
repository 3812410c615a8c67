"""Tables of a run that edits: one row a method, over all edits and over those of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from renoise.evaluation import tables
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import by_method
from renoise.evaluation.tables import mean


@dataclass(frozen=True)
class EditLine:
    """One method over all edits; a number that is not available is None.

    Attributes:
        method: the row's label.
        num_inversion_steps, num_steps, iterations: its schedules and renoising iterations.
        images: how many were edited.
        edits: how often, of all images and targets.
        structure_distance_mean: of the edits from the images; lower keeps more.
        psnr_background_mean, ssim_background_mean, mse_background_mean, lpips_background_mean: of the edits against the
            images outside the masks.
        no_background: edits whose mask leaves no background, which those means leave out; None without masks.
        clip_whole_mean, clip_edited_mean: how well the edits fit their prompts, as a whole and what their masks show.
        l2_to_source_mean, psnr_to_source_mean, ssim_to_source_mean: of the edits against the images: how much changed
            at all.
        passes_inversion, passes_denoising: network passes for an edit, means; an inversion serves all edits of its
            image.
        seconds: for inversion and edit, mean.
        failures: share of edits without an image.
        error: why some edits have no image, each reason with its count.
    """

    method: str
    num_inversion_steps: int
    num_steps: int
    iterations: int
    pictures: int
    edits: int
    structure_distance_mean: float | None
    psnr_background_mean: float | None
    ssim_background_mean: float | None
    mse_background_mean: float | None
    lpips_background_mean: float | None
    no_background: int | None
    clip_whole_mean: float | None
    clip_edited_mean: float | None
    l2_to_source_mean: float | None
    psnr_to_source_mean: float | None
    ssim_to_source_mean: float | None
    passes_inversion: float | None
    passes_denoising: float | None
    seconds: float | None
    failures: float
    error: str | None = None


@dataclass(frozen=True)
class EditSummary:
    """The lines of a run that edits.

    Attributes:
        lines: over all edits.
        kinds: over the edits of each kind, where the data tells kinds.
        images: how many were edited.
        edits: how many edits each method was asked for.
    """

    lines: tuple[EditLine, ...]
    kinds: Mapping[str, tuple[EditLine, ...]]
    pictures: int
    edits: int


def summarise(measurements: Iterable[Measurement]) -> EditSummary:
    """One line for each method, and one for each kind of edit and method."""
    measured = list(measurements)
    kinds = dict.fromkeys(m.kind for m in measured if m.kind is not None)
    return EditSummary(
        _lines(measured),
        {kind: _lines([m for m in measured if m.kind == kind]) for kind in kinds},
        len({m.picture for m in measured}),
        len({(m.picture, m.target) for m in measured}),
    )


def as_csv(summary: EditSummary) -> str:
    """The lines over all edits as comma-separated values with a header; what is not available is left empty."""
    return tables.as_csv(EditLine, summary.lines)


def as_markdown(summary: EditSummary) -> str:
    """The summary as Markdown: a table of all edits, and one for each kind."""
    kinds = (f"\n{kind}, {lines[0].edits} edits\n\n{_table(lines)}" for kind, lines in summary.kinds.items())
    return _table(summary.lines) + tables.errors(summary.lines) + "".join(kinds)


_COLUMNS = (
    ("method", "s"),
    ("num_inversion_steps", "d"),
    ("num_steps", "d"),
    ("iterations", "d"),
    ("structure_distance_mean", ".5f"),
    ("psnr_background_mean", ".2f"),
    ("ssim_background_mean", ".4f"),
    ("mse_background_mean", ".5f"),
    ("lpips_background_mean", ".4f"),
    ("no_background", "d"),
    ("clip_whole_mean", ".2f"),
    ("clip_edited_mean", ".2f"),
    ("psnr_to_source_mean", ".2f"),
    ("ssim_to_source_mean", ".4f"),
    ("passes_inversion", ".0f"),
    ("passes_denoising", ".0f"),
    ("seconds", ".2f"),
    ("failures", ".1%"),
)


def _table(lines: Sequence[EditLine]) -> str:
    return tables.as_markdown(_COLUMNS, lines)


def _lines(measured: Sequence[Measurement]) -> tuple[EditLine, ...]:
    return tuple(_line(own) for own in by_method(measured).values())


def _line(own: Sequence[Measurement]) -> EditLine:
    first, drawn = own[0], [m for m in own if m.error is None]
    backgrounds = [m.background for m in drawn if m.background is not None]
    return EditLine(
        method=first.method,
        num_inversion_steps=first.num_inversion_steps,
        num_steps=first.num_steps,
        iterations=first.iterations,
        pictures=len({m.picture for m in own}),
        edits=len(own),
        structure_distance_mean=mean([m.structure_distance for m in drawn]),
        psnr_background_mean=mean([m.psnr_background for m in drawn]),
        ssim_background_mean=mean([m.ssim_background for m in drawn]),
        mse_background_mean=mean([m.mse_background for m in drawn]),
        lpips_background_mean=mean([m.lpips_background for m in drawn]),
        no_background=backgrounds.count(0.0) if backgrounds else None,
        clip_whole_mean=mean([m.clip_whole for m in drawn]),
        clip_edited_mean=mean([m.clip_edited for m in drawn]),
        l2_to_source_mean=mean([m.l2 for m in drawn]),
        psnr_to_source_mean=mean([m.psnr for m in drawn]),
        ssim_to_source_mean=mean([m.ssim for m in drawn]),
        passes_inversion=mean([m.passes_inversion for m in drawn]),
        passes_denoising=mean([m.passes_denoising for m in drawn]),
        seconds=mean([m.seconds for m in drawn]),
        failures=(len(own) - len(drawn)) / len(own),
        error=tables.reasons([m.error for m in own]),
    )
