"""The report of a run that reconstructs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from renoise.evaluation import pages
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.pages import Album
from renoise.evaluation.plots import Plot, curve_of, has_curves
from renoise.evaluation.runs import about
from renoise.evaluation.summary import FAILURE_MARGIN, Summary, by_method

_PICTURES_SHOWN = 8
_WORST_SHOWN = 3
# Of more methods than this the worst images are folded away.
_MOST_OPEN = 20
_NOTES = (
    "L2 is the mean squared error of values from 0 to 1 (lower is better), PSNR its logarithm (higher is better). A "
    "reconstruction can hardly come nearer to the image than the autoencoder's own round trip, which is the bound; "
    "PSNR against the round trip leaves the autoencoder out. P5 is the 5th percentile. In it and in the median a "
    "image without a reconstruction ranks lowest; means, plots and the worst of each method are of those that have "
    "one. SSIM and MS-SSIM: higher is better; LPIPS: lower is better. Failed is the share of images that have no "
    f"reconstruction, or one more than {FAILURE_MARGIN:g} dB under the median of the method's reconstructions. n/a: "
    "not available."
)
_WORST = (
    "The images with the lowest PSNR: the image left, its reconstruction right, and how far it lies under the "
    "method's median."
)


def page(
    folder: Path, run: str, measurements: Sequence[Measurement], summary: Summary, plots: Mapping[str, Plot]
) -> str:
    """The report as HTML.

    Args:
        folder: where the run's images lie; those that are missing are shown as "no image".
        run: its name.
        measurements: of its rows, at least one.
        summary: of these measurements.
        plots: by name, as `plots.draw` gives them.
    """
    rows = by_method(measurements)
    columns = _columns(run, rows)
    shown = pages.pictured(measurements)[:_PICTURES_SHOWN]
    album = Album(folder)
    tails = (_tail(album, method, own, len(rows) <= _MOST_OPEN) for method, own in rows.items())
    sections = (
        pages.section("Numbers", pages.scroll("Numbers", pages.numbers(_NUMBERS, summary.lines)), pages.note(_NOTES)),
        pages.section("Plots", *(_plot(name, plot) for name, plot in plots.items())),
        pages.section(
            "Pictures",
            pages.note(_shown(len(shown), summary, columns, rows)),
            pages.scroll("Pictures", _grid(album, shown, columns)),
        ),
        pages.section("The worst of each method", pages.note(_WORST), *tails),
    )
    return pages.page(f"{run}: {about(run)}", _facts(measurements, summary), sections)


def _facts(measurements: Sequence[Measurement], summary: Summary) -> dict[str, str]:
    bound = pages.with_unit(summary.psnr_bound_mean, ".2f", " dB, the mean over the images")
    return pages.facts(measurements, {"pictures": str(summary.pictures), "autoencoder's bound": bound})


# The table.

_NUMBERS = (
    (("PSNR,", "mean (dB)"), "psnr_mean", ".2f"),
    (("PSNR,", "median (dB)"), "psnr_median", ".2f"),
    (("PSNR,", "P5 (dB)"), "psnr_p5", ".2f"),
    (("PSNR against the", "round trip, mean (dB)"), "psnr_roundtrip_mean", ".2f"),
    (("failed",), "failures", ".1%"),
    (("L2,", "mean"), "l2_mean", ".5f"),
    (("SSIM,", "mean"), "ssim_mean", ".4f"),
    (("MS-SSIM,", "mean"), "ms_ssim_mean", ".4f"),
    (("LPIPS,", "mean"), "lpips_mean", ".4f"),
    (("inversion", "steps"), "num_inversion_steps", "d"),
    (("denoising", "steps"), "num_steps", "d"),
    (("renoising", "iterations"), "iterations", "d"),
    (("passes of", "inversion"), "passes_inversion", ".0f"),
    (("passes of", "denoising"), "passes_denoising", ".0f"),
    (("seconds", "an image"), "seconds", ".2f"),
)


def _plot(name: str, plot: Plot) -> str:
    # Without its background, so that it takes the page's in light and in dark.
    source = pages.data_uri("image/svg+xml", plot.render("svg", transparent=True))
    caption = escape(plot.caption)
    return (
        f'<figure class="plot" id="{escape(name)}"><div><img src="{source}" alt="{caption}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


# The images.


def _columns(run: str, rows: Mapping[str, list[Measurement]]) -> dict[str, list[Measurement]]:
    """The methods that the grid shows: all, or of figure8 the plainest and the most renoised for each sampler."""
    if not has_curves(run, [m for own in rows.values() for m in own]):
        return dict(rows)
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for method, own in rows.items():
        curve = curve_of(own[0])
        if curve.line == "reversing":
            first.setdefault(curve.sampler, method)
        if curve.line == "renoising":
            last[curve.sampler] = method
    chosen = {*first.values(), *last.values()}
    return {method: own for method, own in rows.items() if method in chosen}


def _shown(count: int, summary: Summary, columns: Mapping[str, object], rows: Mapping[str, object]) -> str:
    some = f"The first {count} of {summary.pictures} images"
    if len(columns) < len(rows):
        some += f" under {len(columns)} of {len(rows)} methods"
    return f"{some}; under each reconstruction its PSNR against the image, under the round trip the bound."


def _grid(album: Album, shown: Sequence[Measurement], columns: Mapping[str, Sequence[Measurement]]) -> str:
    measured = {(m.method, m.picture): m for own in columns.values() for m in own}
    rows = (_grid_row(album, one, [measured.get((method, one.picture)) for method in columns]) for one in shown)
    return pages.pictures(("picture", "round trip", *columns), rows)


def _grid_row(album: Album, one: Measurement, measured: Sequence[Measurement | None]) -> tuple[str, list[str]]:
    bound = next((m.psnr_bound for m in measured if m is not None and m.psnr_bound is not None), None)
    round_trip = album.show(one, f"{one.picture}, the autoencoder's round trip", "round-trip")
    return album.picture(one) + escape(one.picture), [
        round_trip + _decibels(bound),
        *(_grid_cell(album, m) for m in measured),
    ]


def _grid_cell(album: Album, m: Measurement | None) -> str:
    return "not measured" if m is None else _reconstruction(album, m) + _decibels(m.psnr)


def _reconstruction(album: Album, m: Measurement) -> str:
    return album.show(m, f"{m.picture}, reconstructed by: {m.method}")


def _decibels(value: float | None) -> str:
    return pages.with_unit(value, ".2f", " dB")


# The heavy tail.


def _tail(album: Album, method: str, own: Sequence[Measurement], unfolded: bool) -> str:
    drawn = sorted(((m.psnr, m.picture, m) for m in own if m.psnr is not None), key=lambda one: one[:2])
    median = float(np.median([psnr for psnr, *_ in drawn])) if drawn else None
    pairs = "\n".join(_pair(album, m, psnr - (median or 0.0)) for psnr, _, m in drawn[:_WORST_SHOWN])
    worst = f"worst {drawn[0][0]:.2f} dB, " if drawn else ""
    return (
        f"<details{' open' if unfolded else ''}>\n<summary>{escape(method)} "
        f'<span class="quiet">{worst}median {_decibels(median)}</span></summary>\n'
        f'{pages.errors(own, "a reconstruction")}<div class="worst">\n{pairs}\n</div>\n</details>'
    )


def _pair(album: Album, m: Measurement, above: float) -> str:
    far = f"{abs(above):.2f} dB {'above' if above > 0 else 'under'} the median"
    if above < -FAILURE_MARGIN:
        far = f'<span class="bad">{far}: failed</span>'
    return (
        f'<figure><div class="pair">{album.picture(m)}{_reconstruction(album, m)}</div>'
        f"<figcaption>{escape(m.picture)}<br>{_decibels(m.psnr)}, {far}</figcaption></figure>"
    )
