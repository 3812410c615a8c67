"""The report of a run: one HTML file that needs neither the folder around it nor a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from renoise import images
from renoise.errors import ImageError
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plots import Plot, curve_of
from renoise.evaluation.runner import picture_path
from renoise.evaluation.runs import RUNS
from renoise.evaluation.summary import FAILURE_MARGIN, Line, Summary, by_method

_PICTURES_SHOWN = 8
_WORST_SHOWN = 3
# Of more methods than this the worst pictures are folded away.
_MOST_OPEN = 20
# The longer side of an embedded picture: enough to judge it by, and a report that can still be sent around.
_SIDE = 192
_NOTES = (
    "L2 is the mean squared error of values from 0 to 1 (lower is better), PSNR its logarithm (higher is better). A "
    "reconstruction can hardly come nearer to the picture than the autoencoder's own round trip, which is the bound; "
    "PSNR against the round trip leaves the autoencoder out. P5 is the 5th percentile. SSIM and MS-SSIM: higher is "
    "better; LPIPS: lower is better. Failed is the share of pictures that have no reconstruction, or one more than "
    f"{FAILURE_MARGIN:g} dB under the method's median. n/a: not available."
)


def page(
    folder: Path, run: str, measurements: Sequence[Measurement], summary: Summary, plots: Mapping[str, Plot]
) -> str:
    """The report as HTML.

    Args:
        folder: where the run's pictures lie; those that are missing are shown as "no picture".
        run: its name, out of `runs.RUNS`.
        measurements: of its rows, at least one.
        summary: of these measurements.
        plots: by name, as `plots.draw` gives them.
    """
    template = Template(files("renoise.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    rows = by_method(measurements)
    columns = _columns(run, rows)
    names = list(dict.fromkeys(m.picture for m in measurements))[:_PICTURES_SHOWN]
    album = _Album(folder)
    return template.substitute(
        title=escape(f"{run}: {RUNS[run].about}"),
        facts=_facts(measurements, summary),
        table=_numbers(summary),
        notes=_NOTES,
        plots="\n".join(_plot(name, plot) for name, plot in plots.items()),
        shown=_shown(names, summary, columns, rows),
        grid=_grid(album, names, columns),
        worst="\n".join(_tail(album, method, own, len(rows) <= _MOST_OPEN) for method, own in rows.items()),
    )


# What was measured.


def _facts(measurements: Sequence[Measurement], summary: Summary) -> str:
    facts = {
        "model": _all(f"{m.model} ({m.dtype} on {m.device})" for m in measurements),
        "data": _all(m.data for m in measurements),
        "pictures": str(summary.pictures),
        "seed": _all(str(m.seed) for m in measurements),
        "autoencoder's bound": _cell(summary.psnr_bound_mean, ".2f", " dB, the mean over the pictures"),
        "versions": _all(f"{name} {version}" for m in measurements for name, version in m.versions.items()),
    }
    return "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())


def _all(values: Iterable[str]) -> str:
    """Each of these once: a folder that was filled in two goes may hold two versions."""
    return ", ".join(dict.fromkeys(values))


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
    (("seconds", "a picture"), "seconds", ".2f"),
)


def _numbers(summary: Summary) -> str:
    headings = "".join(f'<th scope="col">{"<br>".join(heading)}</th>' for heading, *_ in _NUMBERS)
    rows = "\n".join(_numbers_of(line) for line in summary.lines)
    return (
        f'<table class="numbers">\n<thead><tr><th scope="col">method</th>{headings}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _numbers_of(line: Line) -> str:
    cells = "".join(f"<td>{_cell(getattr(line, name), form)}</td>" for _, name, form in _NUMBERS)
    return f'<tr><th scope="row">{escape(line.method)}</th>{cells}</tr>'


def _cell(value: float | None, form: str, unit: str = "") -> str:
    return "n/a" if value is None else f"{value:{form}}{unit}"


def _plot(name: str, plot: Plot) -> str:
    # Without its background, so that it takes the page's in light and in dark.
    source = _data_uri("image/svg+xml", plot.render("svg", transparent=True))
    caption = escape(plot.caption)
    return (
        f'<figure class="plot" id="{escape(name)}"><div><img src="{source}" alt="{caption}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


# The pictures.


class _Album:
    """Pictures of a run as HTML, each of them read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = cache(_thumbnail)

    def show(self, kind: str, name: str, alt: str) -> str:
        """The picture, or that there is none."""
        source = self._source(picture_path(self._folder, kind, name))
        if source is None:
            return '<div class="none">no picture</div>'
        return f'<img src="{source}" alt="{escape(alt)}" loading="lazy">'


def _thumbnail(path: Path) -> str | None:
    """A small picture as a data URI; None where it is missing or damaged."""
    try:
        picture = images.load(path)
    except ImageError:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return _data_uri("image/jpeg", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _columns(run: str, rows: Mapping[str, list[Measurement]]) -> dict[str, list[Measurement]]:
    """The methods that the grid shows: all, or of figure8 the plainest and the most renoised for each sampler."""
    if run != "figure8":
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


def _shown(names: Sequence[str], summary: Summary, columns: Mapping[str, object], rows: Mapping[str, object]) -> str:
    some = f"The first {len(names)} of {summary.pictures} pictures"
    if len(columns) < len(rows):
        some += f" under {len(columns)} of {len(rows)} methods"
    return f"{some}; under each reconstruction its PSNR against the picture, under the round trip the bound."


def _grid(album: _Album, names: Sequence[str], columns: Mapping[str, Sequence[Measurement]]) -> str:
    headings = ("picture", "round trip", *columns)
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    measured = {(m.method, m.picture): m for own in columns.values() for m in own}
    rows = "\n".join(_grid_row(album, name, [measured.get((method, name)) for method in columns]) for name in names)
    return f'<table class="pictures">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'


def _grid_row(album: _Album, name: str, measured: Sequence[Measurement | None]) -> str:
    bound = next((m.psnr_bound for m in measured if m is not None and m.psnr_bound is not None), None)
    picture = album.show("picture", name, f"{name}, the picture")
    cells = [
        album.show("round-trip", name, f"{name}, the autoencoder's round trip") + _cell(bound, ".2f", " dB"),
        *(_grid_cell(album, m) for m in measured),
    ]
    return f'<tr><th scope="row">{picture}{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _grid_cell(album: _Album, m: Measurement | None) -> str:
    if m is None:
        return "not measured"
    return _reconstruction(album, m) + _cell(m.psnr, ".2f", " dB")


def _reconstruction(album: _Album, m: Measurement) -> str:
    # A picture of an earlier measurement may still lie there; a method that failed has none.
    kind = "failed" if m.error is not None else f"{m.row:02d}"
    return album.show(kind, m.picture, f"{m.picture}, reconstructed by: {m.method}")


# The heavy tail.


def _tail(album: _Album, method: str, own: Sequence[Measurement], unfolded: bool) -> str:
    drawn = sorted((m.psnr, m.picture, m) for m in own if m.psnr is not None)
    median = float(np.median([psnr for psnr, *_ in drawn])) if drawn else None
    pairs = "\n".join(_pair(album, m, psnr - (median or 0.0)) for psnr, _, m in drawn[:_WORST_SHOWN])
    worst = f"worst {drawn[0][0]:.2f} dB, " if drawn else ""
    return (
        f"<details{' open' if unfolded else ''}>\n<summary>{escape(method)} "
        f'<span class="quiet">{worst}median {_cell(median, ".2f", " dB")}</span></summary>\n'
        f'{_errors(own)}<div class="worst">\n{pairs}\n</div>\n</details>'
    )


def _pair(album: _Album, m: Measurement, above: float) -> str:
    far = f"{abs(above):.2f} dB {'above' if above > 0 else 'under'} the median"
    if above < -FAILURE_MARGIN:
        far = f'<span class="bad">{far}: failed</span>'
    picture = album.show("picture", m.picture, f"{m.picture}, the picture")
    return (
        f'<figure><div class="pair">{picture}{_reconstruction(album, m)}</div>'
        f"<figcaption>{escape(m.picture)}<br>{_cell(m.psnr, '.2f', ' dB')}, {far}</figcaption></figure>"
    )


def _errors(own: Sequence[Measurement]) -> str:
    """Why there is no reconstruction, each reason once with its pictures."""
    reasons: dict[str, list[str]] = {}
    for m in own:
        if m.error is not None:
            reasons.setdefault(m.error, []).append(m.picture)
    return "".join(
        f'<p><span class="bad">{len(names)} of {len(own)} without a reconstruction</span>: {escape(error)}<br>'
        f'<span class="quiet">{escape(", ".join(names))}</span></p>\n'
        for error, names in reasons.items()
    )
