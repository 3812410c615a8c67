"""Tables of a run: one row a method, in the order measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from renoise.evaluation.measurement import Measurement

# A reconstruction this much under its method's median has failed, in dB.
FAILURE_MARGIN = 6.0


@dataclass(frozen=True)
class Line:
    """One method over all pictures; a number that is not available is None.

    Attributes:
        method: the row's label.
        num_inversion_steps, num_steps, iterations: its schedules and renoising iterations.
        l2_mean: mean squared error against the pictures, in [0, 1].
        psnr_mean, psnr_median, psnr_p5: against the pictures, in dB: mean, median, 5th percentile.
        psnr_roundtrip_mean: against the autoencoder's own round trip.
        ssim_mean: against the pictures.
        passes_inversion, passes_denoising: network passes for a picture, means.
        seconds: for a picture, mean.
        failures: share of pictures more than 6 dB under the median, or without a picture.
        ms_ssim_mean, lpips_mean: against the pictures.
        pictures: how many were measured.
        error: why there are no numbers, where there are none.
    """

    method: str
    num_inversion_steps: int
    num_steps: int
    iterations: int
    l2_mean: float | None
    psnr_mean: float | None
    psnr_median: float | None
    psnr_p5: float | None
    psnr_roundtrip_mean: float | None
    ssim_mean: float | None
    passes_inversion: float | None
    passes_denoising: float | None
    seconds: float | None
    failures: float
    ms_ssim_mean: float | None
    lpips_mean: float | None
    pictures: int
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """The lines of a run, and the bound that the autoencoder sets."""

    lines: tuple[Line, ...]
    psnr_bound_mean: float | None
    pictures: int


def by_method(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements of each method, in the order of the run's rows."""
    rows: dict[str, list[Measurement]] = {}
    for m in sorted(measurements, key=lambda m: m.row):
        rows.setdefault(m.method, []).append(m)
    return rows


def failed(own: Sequence[Measurement]) -> list[Measurement]:
    """Those of one method's measurements that have no picture, or one far under the method's median."""
    psnr = [m.psnr for m in own if m.psnr is not None]
    least = float(np.median(psnr)) - FAILURE_MARGIN if psnr else 0.0
    return [m for m in own if m.psnr is None or m.psnr < least]


def summarise(measurements: Iterable[Measurement]) -> Summary:
    """One line for each method."""
    rows = by_method(measurements)
    bounds = {m.picture: m.psnr_bound for own in rows.values() for m in own if m.psnr_bound is not None}
    pictures = {m.picture for own in rows.values() for m in own}
    return Summary(tuple(_line(own) for own in rows.values()), _mean(list(bounds.values())), len(pictures))


def as_csv(summary: Summary) -> str:
    """The summary as comma-separated values with a header; what is not available is left empty."""
    buffer = io.StringIO()
    names = [f.name for f in fields(Line)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for line in summary.lines:
        writer.writerow(["" if getattr(line, name) is None else getattr(line, name) for name in names])
    return buffer.getvalue()


def as_markdown(summary: Summary) -> str:
    """The summary as a Markdown table."""
    rows = [[name for name, _ in _COLUMNS]]
    rows += [[_cell(getattr(line, name), form) for name, form in _COLUMNS] for line in summary.lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * w for w in widths))
    notes = [f"\n{line.method}: {line.error}" for line in summary.lines if line.error]
    return "".join(f"| {line} |\n" for line in lines) + "".join(f"{note}\n" for note in notes)


_COLUMNS = (
    ("method", "s"),
    ("num_inversion_steps", "d"),
    ("num_steps", "d"),
    ("iterations", "d"),
    ("l2_mean", ".5f"),
    ("psnr_mean", ".2f"),
    ("psnr_median", ".2f"),
    ("psnr_p5", ".2f"),
    ("psnr_roundtrip_mean", ".2f"),
    ("ssim_mean", ".4f"),
    ("passes_inversion", ".0f"),
    ("passes_denoising", ".0f"),
    ("seconds", ".2f"),
    ("failures", ".1%"),
    ("ms_ssim_mean", ".4f"),
    ("lpips_mean", ".4f"),
)


def _cell(value: object, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _line(own: Sequence[Measurement]) -> Line:
    first, drawn = own[0], [m for m in own if m.error is None]
    psnr = [m.psnr for m in drawn if m.psnr is not None]
    return Line(
        method=first.method,
        num_inversion_steps=first.num_inversion_steps,
        num_steps=first.num_steps,
        iterations=first.iterations,
        l2_mean=_mean([m.l2 for m in drawn]),
        psnr_mean=_mean(psnr),
        psnr_median=float(np.median(psnr)) if psnr else None,
        psnr_p5=float(np.percentile(psnr, 5)) if psnr else None,
        psnr_roundtrip_mean=_mean([m.psnr_roundtrip for m in drawn]),
        ssim_mean=_mean([m.ssim for m in drawn]),
        ms_ssim_mean=_mean([m.ms_ssim for m in drawn]),
        lpips_mean=_mean([m.lpips for m in drawn]),
        passes_inversion=_mean([m.passes_inversion for m in drawn]),
        passes_denoising=_mean([m.passes_denoising for m in drawn]),
        seconds=_mean([m.seconds for m in drawn]),
        failures=len(failed(own)) / len(own),
        pictures=len(own),
        error=None if drawn else first.error,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
