"""The report of a run: what `report.html`, a template, shows of its measurements."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from renoise import ImageError, images
from renoise.escaping import escaped, shown
from renoise.evaluation.folder import Role, find_image
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plots import Plot, curve_of, has_curves
from renoise.evaluation.runs import Plots
from renoise.evaluation.summary import FAILURE_MARGIN, Summary, by_method, cell, with_unit

_IMAGES_SHOWN, _EDITS_SHOWN, _WORST_SHOWN = 8, 24, 3
# The worst images of more methods than this are folded away.
_MOST_OPEN = 20
# The longer side of an embedded image: enough to judge it by, in a report that can still be sent around.
_SIDE = 192
_ARROWS = {"higher": " \N{UPWARDS ARROW}", "lower": " \N{DOWNWARDS ARROW}", None: ""}
# What is told under an edit, where it is available.
_TOLD: Mapping[str, Callable[[float], str]] = {
    "changed": lambda changed: "changed as asked" if changed else "not changed as asked",
    "psnr_target": "true result {:.2f} dB".format,
    "structure_distance": "structure {:.4f}".format,
    "psnr_background": "background {:.2f} dB".format,
    "clip_whole": "CLIP {:.2f}".format,
    "psnr": "image {:.2f} dB".format,
}


def page(
    folder: Path,
    title: str,
    measurements: Sequence[Measurement],
    summary: Summary,
    plots: Mapping[str, Plot],
    *,
    chosen: Plots = Plots.distributions,
) -> str:
    """Return the report of a run with at least one measurement as HTML.

    The run's images lie in the folder; those that are missing are shown as "no image". The plots are those that
    `plots.draw` has drawn in the chosen way.
    """
    rows, every = by_method(measurements), _one_of_each(measurements)
    template = files("renoise.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_one_line
    )
    environment.filters["shown"] = shown
    return environment.from_string(template).render(
        title=title,
        facts=_facts(measurements, summary),
        summary=summary,
        metrics=sorted((metric for metric in summary.metrics if metric.heading), key=lambda metric: metric.place),
        arrows=_ARROWS,
        value=cell,
        decibels=_decibels,
        margin=FAILURE_MARGIN,
        # Plots lose their background, so that they take the page's in light and in dark.
        plots={name: (plot, plot.render("svg", transparent=True)) for name, plot in plots.items()},
        album=_Album(folder),
        data_uri=_data_uri,
        every=every,
        shown=every[: _EDITS_SHOWN if summary.edits else _IMAGES_SHOWN],
        methods=list(rows),
        columns=_columns(rows) if not summary.edits and has_curves(chosen, measurements) else list(rows),
        # Of several seeds, the images of the first are shown.
        measured={(m.label, m.image, m.target): m for m in reversed(measurements)},
        bounds={m.image: m.psnr_bound for m in measurements if m.psnr_bound is not None},
        told=_told,
        first_seed=f" with the seed {summary.seeds[0]}" if len(summary.seeds) > 1 else "",
        tails=[_Tail.of(method, own) for method, own in rows.items()],
        most_open=_MOST_OPEN,
    )


def _one_line(value: Any) -> Any:
    """Escape the control characters of what the template puts into the page, in which HTML has no use for any."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _facts(measurements: Sequence[Measurement], summary: Summary) -> dict[str, str]:
    """Return what was measured, by name. A folder that was filled in two goes may hold two versions."""

    def each(values: Iterable[str]) -> str:
        return ", ".join(shown(value) for value in dict.fromkeys(values))

    bound = with_unit(summary.psnr_bound_mean, ".2f", " dB, the mean over the images")
    more = {"edits": f"{summary.asked} by each method"} if summary.edits else {"autoencoder's bound": bound}
    return {
        "model": each(f"{m.model} ({m.dtype} on {m.device})" for m in measurements),
        "data": each(m.data for m in measurements),
        "images": str(summary.images),
        **more,
        "seeds" if len(summary.seeds) > 1 else "seed": each(str(m.seed) for m in measurements),
        "versions": each(f"{name} {version}" for m in measurements for name, version in m.versions.items()),
    }


def _told(m: Measurement) -> list[str]:
    """Return the numbers that stand under an edit."""
    values = ((text, getattr(m, name)) for name, text in _TOLD.items())
    return [text(value) for text, value in values if value is not None]


def _columns(rows: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """Return of a run that is drawn by samplers the plainest and the most renoised method for each sampler."""
    curves = [(curve_of(own[0]), method) for method, own in rows.items()]
    plainest = {curve.sampler: method for curve, method in reversed(curves) if curve.line == "reversing"}
    renoised = {curve.sampler: method for curve, method in curves if curve.line == "renoising"}
    chosen = {*plainest.values(), *renoised.values()}
    return [method for method in rows if method in chosen]


def _one_of_each(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return one measurement for each image and target, if possible of an image that was read."""
    found: dict[tuple[str, str | None], Measurement] = {}
    for m in measurements:
        before = found.setdefault((m.image, m.target), m)
        if not before.image_hash and m.image_hash:
            found[m.image, m.target] = m
    return list(found.values())


@dataclass(frozen=True)
class _Tail:
    """The images of a method with the lowest PSNR, and of those without an image why."""

    method: str
    asked: int
    worst: list[Measurement]
    median: float | None
    reasons: Mapping[str, list[str]]

    @classmethod
    def of(cls, method: str, own: Sequence[Measurement]) -> _Tail:
        """Return the tail of one method's measurements."""
        drawn = sorted((m for m in own if m.psnr is not None), key=lambda m: (m.psnr, m.image))
        median = float(np.median([m.psnr for m in drawn])) if drawn else None
        reasons: dict[str, list[str]] = {}
        for m in own:
            if m.error is not None:
                name = m.image if m.target is None else f"{m.image} ({m.target})"
                reasons.setdefault(m.error, []).append(shown(name))
        return cls(method, len(own), drawn[:_WORST_SHOWN], median, reasons)


def _decibels(value: float | None) -> str:
    return with_unit(value, ".2f", " dB")


class _Album:
    """The images of a run, each of which is read once. An image is its description and its data, if there is any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = cache(_thumbnail)

    def image(self, m: Measurement) -> tuple[str, str | None]:
        """Return the image as it was before."""
        return f"{shown(m.image)}, the image", self._found(m, "picture")

    def round_trip(self, m: Measurement) -> tuple[str, str | None]:
        """Return the image encoded and decoded."""
        return f"{shown(m.image)}, the autoencoder's round trip", self._found(m, "round-trip")

    def drawn(self, m: Measurement) -> tuple[str, str | None]:
        """Return the reconstruction or the edit. A method that failed has none, whatever an earlier try left."""
        done = "reconstructed by" if m.target is None else f"edited to show {shown(m.target)} by"
        return f"{shown(m.image)}, {done}: {shown(m.label)}", None if m.error is not None else self._found(m, "drawn")

    def _found(self, m: Measurement, role: Role) -> str | None:
        path = find_image(self._folder, m, role)
        return None if path is None else self._source(path)


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


def _data_uri(media_type: str, data: bytes) -> Markup:
    # Of characters that HTML shows as they are, and too long to be looked through again.
    return Markup(f"data:{media_type};base64,{base64.b64encode(data).decode()}")
