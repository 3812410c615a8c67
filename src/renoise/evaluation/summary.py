"""Tables of a run: one row a method, in the order measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from renoise.evaluation import tables
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.tables import mean

# A reconstruction this much under its method's median has failed, in dB.
FAILURE_MARGIN = 6.0


@dataclass(frozen=True)
class Line:
    """One method over all images; a number that is not available is None.

    Attributes:
        method: the row's label.
        num_inversion_steps, num_steps, iterations: its schedules and renoising iterations.
        l2_mean: mean squared error against the images, in [0, 1].
        psnr_mean, psnr_median, psnr_p5: against the images, in dB: mean, median, 5th percentile. In the latter two a
            image without a reconstruction ranks lowest, and where they fall on one they are not available; means are
            over the images that have one.
        psnr_roundtrip_mean: against the autoencoder's own round trip.
        ssim_mean: against the images.
        passes_inversion, passes_denoising: network passes for an image, means.
        seconds: for an image, mean.
        failures: share of images without a reconstruction, or with one more than 6 dB under the median of all
            reconstructions.
        ms_ssim_mean, lpips_mean: against the images.
        psnr_bound_mean: of the autoencoder's round trip against the images, in dB.
        images: how many the method was asked for.
        measured: how many of them have a reconstruction.
        error: why the others have none, each reason with its count.
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
    psnr_bound_mean: float | None
    pictures: int
    measured: int
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
    """Those of one method's measurements that have no image, or one far under the method's median."""
    psnr = [m.psnr for m in own if m.psnr is not None]
    least = float(np.median(psnr)) - FAILURE_MARGIN if psnr else 0.0
    return [m for m in own if m.psnr is None or m.psnr < least]


def summarise(measurements: Iterable[Measurement]) -> Summary:
    """One line for each method."""
    rows = by_method(measurements)
    bounds = {m.picture: m.psnr_bound for own in rows.values() for m in own if m.psnr_bound is not None}
    pictures = {m.picture for own in rows.values() for m in own}
    return Summary(tuple(_line(own, bounds) for own in rows.values()), mean(list(bounds.values())), len(pictures))


def as_csv(summary: Summary) -> str:
    """The summary as comma-separated values with a header; what is not available is left empty."""
    return tables.as_csv(Line, summary.lines)


def as_markdown(summary: Summary) -> str:
    """The summary as Markdown: how many images and their bound, the table, and why some have no reconstruction."""
    bound = summary.psnr_bound_mean
    round_trip = "" if bound is None else f"; the autoencoder's round trip: {bound:.2f} dB"
    head = f"{summary.pictures} images{round_trip}\n\n"
    return head + tables.as_markdown(_COLUMNS, summary.lines) + tables.errors(summary.lines)


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
    ("measured", "d"),
)


def _percentile(values: Sequence[float | None], q: int) -> float | None:
    """By linear interpolation, None ranking lowest; None where it falls on one of these, or between it and a number."""
    known = sorted(value for value in values if value is not None)
    missing = len(values) - len(known)
    place = q * (len(values) - 1) / 100
    if math.floor(place) < missing:
        return None
    return float(np.interp(place - missing, range(len(known)), known))


def _line(own: Sequence[Measurement], bounds: Mapping[str, float]) -> Line:
    first, drawn = own[0], [m for m in own if m.error is None]
    psnr = [m.psnr if m.error is None else None for m in own]
    return Line(
        method=first.method,
        num_inversion_steps=first.num_inversion_steps,
        num_steps=first.num_steps,
        iterations=first.iterations,
        l2_mean=mean([m.l2 for m in drawn]),
        psnr_mean=mean(psnr),
        psnr_median=_percentile(psnr, 50),
        psnr_p5=_percentile(psnr, 5),
        psnr_roundtrip_mean=mean([m.psnr_roundtrip for m in drawn]),
        ssim_mean=mean([m.ssim for m in drawn]),
        ms_ssim_mean=mean([m.ms_ssim for m in drawn]),
        lpips_mean=mean([m.lpips for m in drawn]),
        passes_inversion=mean([m.passes_inversion for m in drawn]),
        passes_denoising=mean([m.passes_denoising for m in drawn]),
        seconds=mean([m.seconds for m in drawn]),
        failures=len(failed(own)) / len(own),
        psnr_bound_mean=mean([bounds.get(m.picture) for m in own]),
        pictures=len(own),
        measured=len(drawn),
        error=tables.reasons([m.error for m in own]),
    )
