"""The numbers of a run: one line for each method, and every metric in one table.

`METRICS` says for each number what it is called, how it is taken from a method's measurements, whether more or less of
it is better, and how it is shown. The files, the tables and the plots of a run all follow from it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from renoise.evaluation.measurement import Measurement, finite
from renoise.evaluation.texts import in_markdown, in_spreadsheet

# A reconstruction this much under its method's median has failed, in dB.
FAILURE_MARGIN = 6.0
# A cell of a table for people is as wide as its column.
_LONGEST_CELL = 120

# Where alone some metrics are told.
Only = Literal["details", "seeds", "truths"]
# One method's numbers by the names of `METRICS`; None is "not available".
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """A metric of single reconstructions that plots show: the plot's file, the measurement's field, and its target."""

    name: str
    field: str
    # What the reconstruction is compared with.
    target: str
    # The field of what the metric cannot be expected to exceed.
    bound: str | None = None

    def of(self, m: Measurement) -> float | None:
        """Return a measurement's number."""
        value: float | None = getattr(m, self.field)
        return value


@dataclass(frozen=True)
class Metric:
    """A number of a method.

    Attributes:
        name: its name in `summary.csv`, `summary.md` and JSON.
        of: takes it from a method's measurements; a measurement's field stands for the mean over the drawn images.
        form: the format of its value for people; None leaves it to programs.
        heading: the lines of its heading in the report; without any it is not in the report.
        better: whether more or less of it is better; None for what is no quality.
        place: where the report shows it: what tells most comes first.
        edits: whether it is measured of edits alone (True) or of reconstructions alone (False); None is both.
        only: where alone it is told: in runs that go into details (`runs.Run.details`), with several seeds, of edits
            whose true results are known, or where several of these hold; empty is everywhere.
        score: how plots show it; None if they do not.
    """

    name: str
    of: Callable[[Sequence[Measurement]], Any] | str
    form: str | None = None
    heading: tuple[str, ...] = ()
    better: Literal["higher", "lower"] | None = None
    place: int = 0
    edits: bool | None = None
    score: Score | None = None
    only: tuple[Only, ...] = ()

    def taken(self, own: Sequence[Measurement]) -> Any:
        """Return the number of one method."""
        of = self.of
        return mean(getattr(m, of) for m in drawn(own)) if isinstance(of, str) else of(own)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are available; None where none is."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def drawn(own: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements that have an image."""
    return [m for m in own if m.error is None]


def failed(own: Sequence[Measurement]) -> list[Measurement]:
    """Return those of one method's measurements that have no reconstruction, or one far under the method's median."""
    psnr = [m.psnr for m in own if m.psnr is not None]
    least = float(np.median(psnr)) - FAILURE_MARGIN if psnr else 0.0
    return [m for m in own if m.psnr is None or m.psnr < least]


def _same(field: str) -> Callable[[Sequence[Measurement]], Any]:
    """Return a field that is the same for all measurements of a method."""
    return lambda own: getattr(own[0], field)


def percentile(q: int, field: str = "psnr") -> Callable[[Sequence[Measurement]], float | None]:
    """Return a percentile of a PSNR by linear interpolation, in which an image without a reconstruction ranks lowest.

    It is None where it falls on such an image, or between it and a number.
    """

    def of(own: Sequence[Measurement]) -> float | None:
        known = (getattr(m, field) for m in own)
        psnr = sorted(-math.inf if value is None else value for value in known)
        return finite(np.interp(q * (len(own) - 1) / 100, range(len(own)), psnr))

    return of


def _most(field: str) -> Callable[[Sequence[Measurement]], int | None]:
    """Return the largest value of a field."""
    return lambda own: max((value for m in own if (value := getattr(m, field)) is not None), default=None)


def _spread(field: str) -> Callable[[Sequence[Measurement]], float | None]:
    """Return how far the means of a field lie apart that single seeds give: the largest less the smallest."""

    def of(own: Sequence[Measurement]) -> float | None:
        means = [mean(getattr(m, field) for m in drawn(own) if m.seed == seed) for seed in seeds_of(own)]
        known = [value for value in means if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    return of


def seeds_of(measurements: Iterable[Measurement]) -> tuple[int, ...]:
    """Return the seeds that were measured, each once and in their order."""
    return tuple(dict.fromkeys(m.seed for m in measurements))


def _images(own: Sequence[Measurement]) -> int:
    return len({m.image for m in own})


def _without_background(own: Sequence[Measurement]) -> int | None:
    shares = [m.background for m in own if m.background is not None]
    return shares.count(0.0) if shares else None


def _reasons(own: Sequence[Measurement]) -> str | None:
    """Return why measurements have no image, each reason with its count; None where all have one."""
    counts = Counter(m.error for m in own if m.error is not None)
    return "; ".join(f"{error} ({count} of {len(own)})" for error, count in counts.items()) or None


_ROUND_TRIP = ("PSNR against the", "round trip, mean (dB)")
_TAIL = ("PSNR against the", "round trip, P5 (dB)")
_STRUCTURE = ("structure distance,", "spread over seeds")
_BACKGROUND = ("background PSNR,", "spread over seeds (dB)")
_CLIP = ("CLIP similarity,", "spread over seeds")
_COSTLIEST = ("passes of inversion,", "the costliest image")
_TRUE = ("PSNR against the", "true result (dB)")
_UNEDITED = ("the unedited image", "against it (dB)")
_CHANGED = ("changed as asked,", "spread over seeds")
_NEAR = ("PSNR against the true", "result, spread over seeds (dB)")
_APART = ("PSNR against the round", "trip, spread over seeds (dB)")
_AGAINST_IMAGE = Score("psnr", "psnr", "the image", "psnr_bound")
_AGAINST_ROUND_TRIP = Score("psnr-roundtrip", "psnr_roundtrip", "the autoencoder's round trip")

# In the order of the files. Of the places in the report, 0 is the quality that the run is about, 1 what failed, 2 other
# qualities, 3 the schedules and 4 the cost. The median and the percentile count images without a reconstruction as the
# lowest; means leave them out.
METRICS: tuple[Metric, ...] = (
    Metric("method", _same("label"), "s"),
    Metric("num_inversion_steps", _same("num_inversion_steps"), "d", ("inversion", "steps"), place=3),
    Metric("num_steps", _same("num_steps"), "d", ("denoising", "steps"), place=3),
    Metric("iterations", _same("iterations"), "d", ("renoising", "iterations"), place=3),
    # Of reconstructions, against the image, or against the autoencoder's round trip of it.
    Metric("l2_mean", "l2", ".5f", ("L2,", "mean"), "lower", 2, False),
    Metric("psnr_mean", "psnr", ".2f", ("PSNR,", "mean (dB)"), "higher", 0, False, _AGAINST_IMAGE),
    Metric("psnr_median", percentile(50), ".2f", ("PSNR,", "median (dB)"), "higher", 0, False),
    Metric("psnr_p5", percentile(5), ".2f", ("PSNR,", "P5 (dB)"), "higher", 0, False),
    Metric("psnr_roundtrip_mean", "psnr_roundtrip", ".2f", _ROUND_TRIP, "higher", 0, False, _AGAINST_ROUND_TRIP),
    Metric("psnr_roundtrip_p5", percentile(5, "psnr_roundtrip"), ".2f", _TAIL, "higher", 0, False, only=("details",)),
    Metric("psnr_spread", _spread("psnr"), ".2f", ("PSNR, spread", "over seeds (dB)"), None, 0, False, only=("seeds",)),
    Metric("psnr_roundtrip_spread", _spread("psnr_roundtrip"), ".2f", _APART, None, 0, False, only=("seeds",)),
    Metric("ssim_mean", "ssim", ".4f", ("SSIM,", "mean"), "higher", 2, False),
    # Of edits whose true results are known: whether they changed as asked, and how near they are to those.
    Metric("changed", "changed", ".1%", ("changed", "as asked"), "higher", 0, True, only=("truths",)),
    Metric("kept", "kept", ".1%", ("border", "kept"), "higher", 0, True, only=("truths",)),
    Metric("psnr_target_mean", "psnr_target", ".2f", _TRUE, "higher", 0, True, only=("truths",)),
    Metric("psnr_target_unedited_mean", "psnr_target_unedited", ".2f", _UNEDITED, None, 0, True, only=("truths",)),
    Metric("changed_spread", _spread("changed"), ".1%", _CHANGED, None, 0, True, only=("truths", "seeds")),
    Metric("psnr_target_spread", _spread("psnr_target"), ".2f", _NEAR, None, 0, True, only=("truths", "seeds")),
    # Of edits: how many there are, what they keep, how well they fit their prompts, and how much they change at all.
    Metric("pictures", _images, edits=True),
    Metric("edits", len, edits=True),
    Metric("structure_distance_mean", "structure_distance", ".5f", ("structure", "distance"), "lower", 0, True),
    Metric("psnr_background_mean", "psnr_background", ".2f", ("background", "PSNR (dB)"), "higher", 0, True),
    Metric("ssim_background_mean", "ssim_background", ".4f", ("background", "SSIM"), "higher", 0, True),
    Metric("mse_background_mean", "mse_background", ".5f", ("background", "MSE"), "lower", 0, True),
    Metric("lpips_background_mean", "lpips_background", ".4f", ("background", "LPIPS"), "lower", 0, True),
    Metric("no_background", _without_background, "d", ("edits without", "background"), None, 0, True),
    Metric("clip_whole_mean", "clip_whole", ".2f", ("CLIP similarity,", "whole"), "higher", 0, True),
    Metric("clip_edited_mean", "clip_edited", ".2f", ("CLIP similarity,", "edited part"), "higher", 0, True),
    Metric(
        "structure_distance_spread", _spread("structure_distance"), ".5f", _STRUCTURE, None, 0, True, only=("seeds",)
    ),
    Metric("psnr_background_spread", _spread("psnr_background"), ".2f", _BACKGROUND, None, 0, True, only=("seeds",)),
    Metric("clip_whole_spread", _spread("clip_whole"), ".2f", _CLIP, None, 0, True, only=("seeds",)),
    Metric("l2_to_source_mean", "l2", edits=True),
    Metric("psnr_to_source_mean", "psnr", ".2f", ("PSNR against", "the image (dB)"), None, 0, True),
    Metric("ssim_to_source_mean", "ssim", ".4f", ("SSIM against", "the image"), None, 0, True),
    Metric("passes_inversion", "passes_inversion", ".4g", ("passes of", "inversion"), "lower", 4),
    Metric("passes_inversion_most", _most("passes_inversion"), "d", _COSTLIEST, "lower", 4, only=("details",)),
    Metric("passes_denoising", "passes_denoising", ".4g", ("passes of", "denoising"), "lower", 4),
    Metric("seconds", "seconds", ".2f", ("seconds", "an image"), "lower", 4),
    Metric("failures", lambda own: len(failed(own)) / len(own), ".1%", ("failed",), "lower", 1, False),
    Metric("failures", lambda own: (len(own) - len(drawn(own))) / len(own), ".1%", ("failed",), "lower", 1, True),
    Metric("noise_mean", "noise_mean", ".3f", ("mean", "of z_T"), None, 1, only=("details",)),
    Metric("noise_deviation", "noise_deviation", ".3f", ("deviation", "of z_T"), None, 1, only=("details",)),
    Metric("noise_whiteness", "noise_whiteness", ".2f", ("whiteness", "of z_T"), None, 1, only=("details",)),
    Metric("noise_kl", "noise_kl", ".4f", ("KL of z_T", "to N(0, 1)"), "lower", 1, only=("details",)),
    Metric("ms_ssim_mean", "ms_ssim", ".4f", ("MS-SSIM,", "mean"), "higher", 2, False),
    Metric("lpips_mean", "lpips", ".4f", ("LPIPS,", "mean"), "lower", 2, False),
    Metric("psnr_bound_mean", lambda own: mean(m.psnr_bound for m in own), edits=False),
    Metric("pictures", _images, edits=False),
    Metric("measured", lambda own: len(drawn(own)), "d", edits=False),
    Metric("error", _reasons),
)


@dataclass(frozen=True)
class Summary:
    """The numbers of a run.

    Attributes:
        edits: whether the run edits; otherwise it reconstructs.
        lines: a line for each method, in the order of the rows.
        images: how many images were measured.
        asked: how much is asked of each method with one seed: images, or edits.
        psnr_bound_mean: the bound that the autoencoder sets to reconstructions, the mean over the images, in dB.
        edit_types: the lines over the edits of each type, where the data tells types.
        seeds: the seeds, over all of which the numbers are.
        details: whether the lines go into details.
        truths: whether true results of edits are known.
    """

    edits: bool
    lines: tuple[Line, ...]
    images: int
    asked: int
    psnr_bound_mean: float | None
    edit_types: Mapping[str, tuple[Line, ...]]
    seeds: tuple[int, ...] = ()
    details: bool = False
    truths: bool = False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of such a run, in the order of the files."""
        holds: dict[Only, bool] = {"details": self.details, "seeds": len(self.seeds) > 1, "truths": self.truths}
        return tuple(
            metric
            for metric in METRICS
            if metric.edits in (None, self.edits) and all(holds[condition] for condition in metric.only)
        )


def by_method(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Return the measurements of each method, in the order of the run's rows."""
    rows: dict[str, list[Measurement]] = {}
    for m in sorted(measurements, key=lambda m: m.row):
        rows.setdefault(m.label, []).append(m)
    return rows


def summarise(measurements: Iterable[Measurement], *, details: bool = False) -> Summary:
    """Return one line for each method, and for edits one for each type of edit and method.

    A line is over all images and all seeds. With `details` it also tells of the noise that the inversions end in.
    """
    measured = list(measurements)
    edits, truths = (any(getattr(m, name) is not None for m in measured) for name in ("target", "psnr_target"))
    empty = Summary(edits, (), 0, 0, None, {}, seeds_of(measured), details, truths)
    # The bound is the image's, and counts also for a method that failed on it.
    bounds = {m.image: m.psnr_bound for m in measured if m.psnr_bound is not None}
    measured = [replace(m, psnr_bound=bounds.get(m.image)) for m in measured]

    def lines(some: Iterable[Measurement]) -> tuple[Line, ...]:
        rows = by_method(some).values()
        return tuple({metric.name: metric.taken(own) for metric in empty.metrics} for own in rows)

    types = dict.fromkeys(m.edit_type for m in measured if empty.edits and m.edit_type is not None)
    return replace(
        empty,
        lines=lines(measured),
        images=len({m.image for m in measured}),
        asked=len({(m.image, m.target) for m in measured}),
        psnr_bound_mean=mean(bounds.values()),
        edit_types={name: lines(m for m in measured if m.edit_type == name) for name in types},
    )


def as_csv(summary: Summary) -> str:
    """Return the lines as comma-separated values with a header; what is not available is left empty.

    A text that a spreadsheet would take for a formula has an apostrophe before it (see `texts.in_spreadsheet`).
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [metric.name for metric in summary.metrics], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: in_spreadsheet(value) for name, value in line.items()} for line in summary.lines)
    return buffer.getvalue()


def as_markdown(summary: Summary) -> str:
    """Return the tables as Markdown, and why some measurements have no image."""
    table = _table(summary, summary.lines)
    failures = [(in_markdown(line["method"]), line["error"]) for line in summary.lines if line["error"]]
    notes = "".join(f"\n{method}: {in_markdown(error)}\n" for method, error in failures)
    if not summary.edits:
        bound = with_unit(summary.psnr_bound_mean, ".2f", " dB")
        round_trip = "" if summary.psnr_bound_mean is None else f"; the autoencoder's round trip: {bound}"
        return f"{summary.images} images{seeds_in_words(summary)}{round_trip}\n\n{table}{notes}"
    types = (
        f"\n{in_markdown(name)}, {lines[0]['edits']} edits\n\n{_table(summary, lines)}"
        for name, lines in summary.edit_types.items()
    )
    return table + notes + "".join(types)


def seeds_in_words(summary: Summary) -> str:
    """Return which seeds the numbers are over, after a count of images; nothing for one seed."""
    return f" with each of the seeds {', '.join(map(str, summary.seeds))}" if len(summary.seeds) > 1 else ""


def _table(summary: Summary, lines: Sequence[Line]) -> str:
    columns = {metric.name: metric.form for metric in summary.metrics if metric.form is not None}
    rows = [
        list(columns),
        *([in_markdown(cell(line[name], form), _LONGEST_CELL) for name, form in columns.items()] for line in lines),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [" | ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)) for row in rows]
    texts.insert(1, " | ".join("-" * w for w in widths))
    return "".join(f"| {text} |\n" for text in texts)


def cell(value: Any, form: str) -> str:
    """Return a value as people read it."""
    return "n/a" if value is None else format(value, form)


def with_unit(value: float | None, form: str, unit: str) -> str:
    """Return a number with its unit, or that it is not available."""
    return cell(value, form) + ("" if value is None else unit)
