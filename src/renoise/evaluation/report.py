"""The report of a run: what `report.html`, a template, shows of its measurements."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from renoise import ImageError, images
from renoise.evaluation.folder import Finder, Role
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plots import Plot, curve_of, has_curves
from renoise.evaluation.runs import Plots
from renoise.evaluation.summary import FAILURE_MARGIN, Summary, by_method, cell, with_unit

_IMAGES_SHOWN, _EDITS_SHOWN, _WORST_SHOWN = 8, 24, 3
_Rows = Mapping[str, Sequence[Measurement]]

# The worst images of more methods than this are folded away.
_MOST_OPEN = 20
# The longer side of an embedded image: enough to judge it by, in a report that can still be sent around.
_SIDE = 192
_ARROWS = {"higher": " \N{UPWARDS ARROW}", "lower": " \N{DOWNWARDS ARROW}", None: ""}


def page(
    folder: Path,
    title: str,
    measurements: Sequence[Measurement],
    summary: Summary,
    plots: Mapping[str, Plot],
    *,
    chosen: Plots = Plots.distributions,
) -> str:
    """Return the report as HTML.

    Args:
        folder: where the run's images lie; those that are missing are shown as "no image".
        title: what the run is called, and what it shows.
        measurements: the measurements of its rows, at least one.
        summary: the summary of these measurements.
        plots: the plots by name, as `plots.draw` gives them.
        chosen: how the run's reconstructions are drawn.
    """
    album = _Album(folder)
    rows = by_method(measurements)
    grid = _edit_grid(album, measurements, rows) if summary.edits else _grid(album, chosen, measurements, rows)
    template = files("renoise.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=title,
        facts=_facts(measurements, summary),
        summary=summary,
        metrics=sorted((metric for metric in summary.metrics if metric.heading), key=lambda metric: metric.place),
        arrows=_ARROWS,
        value=cell,
        margin=FAILURE_MARGIN,
        plots=[_embedded(name, plot) for name, plot in plots.items()],
        grid=grid,
        tails=[_tail(album, method, own) for method, own in rows.items()],
        most_open=_MOST_OPEN,
    )


def _facts(measurements: Sequence[Measurement], summary: Summary) -> dict[str, str]:
    """Return what was measured, by name. A folder that was filled in two goes may hold two versions."""

    def each(values: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    bound = with_unit(summary.psnr_bound_mean, ".2f", " dB, the mean over the images")
    more = {"edits": f"{summary.asked} by each method"} if summary.edits else {"autoencoder's bound": bound}
    return {
        "model": each(f"{m.model} ({m.dtype} on {m.device})" for m in measurements),
        "data": each(m.data for m in measurements),
        "images": str(summary.images),
        **more,
        "seed": each(str(m.seed) for m in measurements),
        "versions": each(f"{name} {version}" for m in measurements for name, version in m.versions.items()),
    }


def _embedded(name: str, plot: Plot) -> dict[str, str]:
    # Without its background, so that it takes the page's in light and in dark.
    source = _data_uri("image/svg+xml", plot.render("svg", transparent=True))
    return {"name": name, "caption": plot.caption, "source": source}


@dataclass(frozen=True)
class _Shown:
    """An image with its description; without a source there is no image."""

    alt: str
    source: str | None


@dataclass(frozen=True)
class _Cell:
    said: Sequence[str]
    image: _Shown | None = None


def _grid(album: _Album, chosen: Plots, measurements: Sequence[Measurement], rows: _Rows) -> dict[str, Any]:
    """Return the table of the first images and of their reconstructions by each method."""
    columns = _columns(rows) if has_curves(chosen, measurements) else rows
    every = _one_of_each(measurements)
    measured = {(m.label, m.image): m for own in columns.values() for m in own}

    def row(one: Measurement) -> tuple[_Cell, list[_Cell]]:
        own = [measured.get((method, one.image)) for method in columns]
        bound = next((m.psnr_bound for m in own if m is not None and m.psnr_bound is not None), None)
        round_trip = _Cell([_decibels(bound)], album.round_trip(one))
        drawn = [_Cell(["not measured"]) if m is None else _Cell([_decibels(m.psnr)], album.drawn(m)) for m in own]
        return _Cell([one.image], album.image(one)), [round_trip, *drawn]

    shown = every[:_IMAGES_SHOWN]
    methods = f" under {len(columns)} of {len(rows)} methods" if len(columns) < len(rows) else ""
    note = f"The first {len(shown)} of {len(every)} images{methods}; under each reconstruction its PSNR against the "
    note += "image, under the round trip the bound."
    return {"note": note, "headings": ["image", "round trip", *columns], "rows": [row(one) for one in shown]}


def _edit_grid(album: _Album, measurements: Sequence[Measurement], rows: _Rows) -> dict[str, Any]:
    """Return the table of the first edits by each method."""
    every = _one_of_each(measurements)
    measured = {(m.label, m.image, m.target): m for own in rows.values() for m in own}

    def edited(m: Measurement | None) -> _Cell:
        if m is None:
            return _Cell(["not measured"])
        told = (
            ("structure {:.4f}", m.structure_distance),
            ("background {:.2f} dB", m.psnr_background),
            ("CLIP {:.2f}", m.clip_whole),
            ("image {:.2f} dB", m.psnr),
        )
        return _Cell([text.format(value) for text, value in told if value is not None], album.drawn(m))

    def row(one: Measurement) -> tuple[_Cell, list[_Cell]]:
        said = [one.image, one.prompt, f"\N{RIGHTWARDS ARROW} {one.target or ''}"]
        return _Cell(said, album.image(one)), [edited(measured.get((m, one.image, one.target))) for m in rows]

    shown = every[:_EDITS_SHOWN]
    note = f"The first {len(shown)} of {len(every)} edits; under each what was measured of it."
    return {"note": note, "headings": ["image and edit", *rows], "rows": [row(one) for one in shown]}


def _columns(rows: _Rows) -> _Rows:
    """Return of a run that is drawn by samplers the plainest and the most renoised method for each sampler."""
    curves = [(curve_of(own[0]), method) for method, own in rows.items()]
    plainest = {curve.sampler: method for curve, method in reversed(curves) if curve.line == "reversing"}
    renoised = {curve.sampler: method for curve, method in curves if curve.line == "renoising"}
    chosen = {*plainest.values(), *renoised.values()}
    return {method: own for method, own in rows.items() if method in chosen}


def _one_of_each(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return one measurement for each image and target, if possible of an image that was read."""
    found: dict[tuple[str, str | None], Measurement] = {}
    for m in measurements:
        before = found.setdefault((m.image, m.target), m)
        if not before.image_hash and m.image_hash:
            found[m.image, m.target] = m
    return list(found.values())


def _tail(album: _Album, method: str, own: Sequence[Measurement]) -> dict[str, Any]:
    """Return the worst images of a method, and why others have none."""
    drawn = sorted(((m.psnr, m.image, m) for m in own if m.psnr is not None), key=lambda one: one[:2])
    median = float(np.median([psnr for psnr, *_ in drawn])) if drawn else None
    worst = f"worst {drawn[0][0]:.2f} dB, " if drawn else ""
    reasons: dict[str, list[str]] = {}
    for m in own:
        if m.error is not None:
            reasons.setdefault(m.error, []).append(m.image if m.target is None else f"{m.image} ({m.target})")
    return {
        "method": method,
        "told": f"{worst}median {_decibels(median)}",
        "asked": len(own),
        "reasons": reasons,
        "pairs": [
            {
                "name": m.image,
                "image": album.image(m),
                "drawn": album.drawn(m),
                "psnr": _decibels(psnr),
                "under": (median or 0.0) - psnr,
            }
            for psnr, _, m in drawn[:_WORST_SHOWN]
        ],
    }


def _decibels(value: float | None) -> str:
    return with_unit(value, ".2f", " dB")


class _Album:
    """The images of a run, each of which is read once."""

    def __init__(self, folder: Path) -> None:
        self._files = Finder(folder)
        self._source = cache(_thumbnail)

    def image(self, m: Measurement) -> _Shown:
        """Return the image as it was before."""
        return self._shown(m, f"{m.image}, the image", "picture")

    def round_trip(self, m: Measurement) -> _Shown:
        """Return the image encoded and decoded."""
        return self._shown(m, f"{m.image}, the autoencoder's round trip", "round-trip")

    def drawn(self, m: Measurement) -> _Shown:
        """Return the reconstruction or the edit. A method that failed has none, whatever an earlier try left."""
        done = "reconstructed by" if m.target is None else f"edited to show {m.target} by"
        alt = f"{m.image}, {done}: {m.label}"
        return _Shown(alt, None) if m.error is not None else self._shown(m, alt, "drawn")

    def _shown(self, m: Measurement, alt: str, role: Role) -> _Shown:
        path = self._files.find(m, role)
        return _Shown(alt, None if path is None else self._source(path))


def _thumbnail(path: Path) -> str | None:
    """Return a small image as a data URI; None if it is missing or damaged."""
    try:
        image = images.load(path)
    except ImageError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return _data_uri("image/jpeg", buffer.getvalue())


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
