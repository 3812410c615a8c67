"""Plots of a run, readable without colour: every line has a marker and a style of its own.

The colours are those of Okabe and Ito (2008), which people tell apart whatever their colour vision; their yellow is
left out, because it is too pale on white.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import SAMPLERS
from renoise.evaluation.summary import FAILURE_MARGIN, by_method, failed

# More timesteps than this are more lines than an eye can follow.
_MOST_LINES = 6
# Between fewer points than this their middle half says nothing.
_FEWEST_FOR_QUARTILES = 5
# With more points than this an SVG is slow to show; they are then one image inside it.
_MOST_SHAPES = 3000

_INK, _PALE, _BLUE, _VERMILION = "#222222", "#D9D9D9", "#0072B2", "#D55E00"
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": _BLUE, "marker": "o", "linestyle": "-"},
    {"color": _VERMILION, "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 3))},
)
_BOUND: dict[str, Any] = {"color": _INK, "linestyle": (0, (1, 1.5)), "linewidth": 1.5}
_LOOK: dict[str, Any] = {
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 10,
    "grid.color": "#E6E6E6",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    # Equal plots are equal files.
    "svg.hashsalt": "renoise",
}
# Beneath a user's own settings of matplotlib the plots would look, and fail, differently on every machine.
_STYLE_SHEETS: list[Any] = ["default", _LOOK]


@dataclass(frozen=True)
class Plot:
    """A figure and what it shows, in a sentence."""

    figure: Figure
    caption: str

    def render(self, form: Literal["png", "svg"], *, transparent: bool = False) -> bytes:
        """The figure as a file; the same for the same measurements and the same matplotlib."""
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
        with matplotlib.style.context(_STYLE_SHEETS):
            self.figure.savefig(buffer, format=form, dpi=200, transparent=transparent, metadata=metadata)
        return buffer.getvalue()


@dataclass(frozen=True)
class Curve:
    """Where a row of figure8 belongs: the sampler's panel, and the line in it."""

    sampler: str
    line: Literal["reversing", "renoising", "edit losses", "noise correction"]


@dataclass(frozen=True)
class _Score:
    """What a reconstruction is held against.

    Attributes:
        name: of the plot's file.
        target: in words.
        bounded: whether the autoencoder's round trip bounds it.
        of: a measurement's number.
    """

    name: str
    target: str
    bounded: bool
    of: Callable[[Measurement], float | None]


_SCORES = (
    _Score("psnr", "the image", True, lambda m: m.psnr),
    _Score("psnr-roundtrip", "the autoencoder's round trip", False, lambda m: m.psnr_roundtrip),
)


def draw(run: str, measurements: Sequence[Measurement]) -> dict[str, Plot]:
    """The plots of a run by the names of their files.

    Args:
        run: its name; runs without plots of their own get the distributions of PSNR.
        measurements: of its rows, at least one.
    """
    with matplotlib.style.context(_STYLE_SHEETS):
        if run == "figure7":
            return {"residuals": _residuals(measurements)}
        plot = _curves if has_curves(run, measurements) else _strips
        return {score.name: plot(measurements, score) for score in _SCORES}


def has_curves(run: str, measurements: Sequence[Measurement]) -> bool:
    """Whether a run is drawn by samplers; rows of one's own under its name may have none."""
    return run == "figure8" and all({"scheduler", "config"} <= m.settings.keys() for m in measurements)


def curve_of(measurement: Measurement) -> Curve:
    """Where a row of figure8 belongs, by its settings."""
    scheduler, config = measurement.settings["scheduler"], measurement.settings["config"]
    names = {theirs: ours for ours, (theirs, _) in SAMPLERS.items()}
    sampler = names.get(scheduler, str(scheduler))
    if config["noise_correction"] is not None:
        return Curve(sampler, "noise correction")
    if config["edit_losses"] is not None:
        return Curve(sampler, "edit losses")
    return Curve(sampler, "renoising" if config["renoising"]["iterations"] else "reversing")


# Distributions: one strip of points a method, and columns of numbers right of them, so many points away.

_MEDIANS, _FAILED = 26.0, 78.0


def _strips(measurements: Sequence[Measurement], score: _Score) -> Plot:
    rows = by_method(measurements)
    figure = Figure(figsize=(7.5, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    many = len(measurements) > _MOST_SHAPES
    for y, own in enumerate(rows.values()):
        _strip(axes, y, own, score, many)
    axes.set_yticks(range(len(rows)), [textwrap.fill(label, 26) for label in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"PSNR against {score.target} (dB), higher is better")
    _note(axes, _MEDIANS, -0.55, "median\n(dB)", va="bottom")
    _note(axes, _FAILED, -0.55, "failed", va="bottom")
    bound = _draw_bound(axes.axvline, measurements, np.median, "median") if score.bounded else None
    handles = [*_strip_legend(), *([] if bound is None else [bound])]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return Plot(
        figure,
        f"PSNR of each method's reconstructions against {score.target}, one point an image. An image has failed if "
        f"it has no reconstruction, or one whose PSNR against the image is more than {FAILURE_MARGIN:g} dB under the "
        "method's median.",
    )


def _strip(axes: Axes, y: int, own: Sequence[Measurement], score: _Score, many: bool) -> None:
    """One method's points, its quartiles and median, and how many of its images failed."""
    without = {m.picture for m in failed(own)}
    points = sorted((value, m.picture in without) for m in own if (value := score.of(m)) is not None)
    _note(axes, _FAILED, y, f"{len(without)} of {len(own)}", color=_VERMILION if without else _INK)
    if not points:
        _note(axes, _MEDIANS, y, "n/a")
        axes.text(0.02, y, "no reconstruction", transform=axes.get_yaxis_transform(), va="center")
        return
    values = np.array([value for value, _ in points])
    low, median, high = np.percentile(values, (25, 50, 75))
    if len(values) >= _FEWEST_FOR_QUARTILES:
        axes.barh(y, high - low, left=low, height=0.76, color=_PALE, zorder=1)
    # Neighbours in value lie far apart in height, by the golden ratio, so that no point hides another.
    heights = y + 0.56 * (np.arange(len(values)) * 0.618034 % 1.0 - 0.5)
    bad = np.array([is_bad for _, is_bad in points])
    size = 6.0 if len(values) < 20 else 4.0 if len(values) < 300 else 2.0
    axes.plot(values[~bad], heights[~bad], "o", color=_BLUE, ms=size, alpha=0.6, mew=0, zorder=2, rasterized=many)
    axes.plot(values[bad], heights[bad], "X", color=_VERMILION, ms=6.5, mec="white", mew=0.5, zorder=3)
    axes.plot([median, median], [y - 0.37, y + 0.37], color=_INK, linewidth=2.5, zorder=4)
    _note(axes, _MEDIANS, y, f"{median:.2f}")


def _note(axes: Axes, points: float, y: float, text: str, *, va: str = "center", color: str = _INK) -> None:
    """A cell of a column that lies so many points right of the plot."""
    axes.annotate(
        text,
        (1.0, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(points, 0.0),
        textcoords="offset points",
        ha="center",
        va=va,
        fontsize=9,
        color=color,
    )


def _strip_legend() -> list[Any]:
    return [
        Line2D([], [], color=_BLUE, marker="o", linestyle="", ms=5.0, label="an image"),
        Line2D([], [], color=_VERMILION, marker="X", linestyle="", ms=6.5, label="an image that failed"),
        Patch(color=_PALE, label="the middle half of the images"),
        Line2D([], [], color=_INK, marker="|", linestyle="", ms=11, mew=2.5, label="the median"),
    ]


def _draw_bound(
    line: Callable[..., Line2D], measurements: Sequence[Measurement], average: Callable[[Any], Any], word: str
) -> Line2D | None:
    """The autoencoder's bound by `Axes.axvline` or `Axes.axhline`; nothing where no image has one."""
    bounds = {m.picture: m.psnr_bound for m in measurements if m.psnr_bound is not None}
    if not bounds:
        return None
    value = float(average(list(bounds.values())))
    return line(value, label=f"the autoencoder's bound, {word} {value:.2f} dB", **_BOUND)


# Residuals: one line a timestep.


def _residuals(measurements: Sequence[Measurement]) -> Plot:
    rows = by_method(measurements)
    figure = Figure(figsize=(7.0, 4.0 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (method, own) in zip(panels, rows.items(), strict=True):
        axes.set_title(method)
        axes.set_ylabel("relative residual (log scale)")
        _residual_lines(axes, [m for m in own if m.residual_history])
    panels[-1].set_xlabel("network pass of a step")
    return Plot(
        figure,
        "Residual of the steps' equation, relative to the latent, from network pass to network pass: the mean over the "
        "images, with a band from the lower to the upper quartile.",
    )


def _residual_lines(axes: Axes, own: Sequence[Measurement]) -> None:
    if not own:
        axes.text(0.5, 0.5, "no residuals were measured", transform=axes.transAxes, ha="center", va="center")
        return
    steps = len(own[0].timesteps)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for style, step in zip(_STYLES, _spread(steps), strict=False):
        low, mean, high = _quartiles([m.residual_history[step] for m in own if m.residual_history])
        passes = np.arange(1, len(mean) + 1)
        axes.fill_between(passes, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(passes, mean, label=f"t = {own[0].timesteps[step]:.0f}", **style)
    axes.legend(title="timestep", loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3.5)


def _spread(count: int) -> list[int]:
    """Places of at most six of `count` steps, evenly, both ends among them."""
    return [round(place) for place in np.linspace(0, count - 1, min(count, _MOST_LINES))]


def _quartiles(histories: Sequence[Sequence[float]]) -> tuple[Any, Any, Any]:
    """Lower quartile, mean and upper quartile at every pass, over the images that got so far."""
    passes = [[h[k] for h in histories if k < len(h)] for k in range(max(map(len, histories)))]
    low, high = (np.array([np.percentile(values, q) for values in passes]) for q in (25, 75))
    return low, np.array([np.mean(values) for values in passes]), high


# PSNR against network passes: one panel a sampler.


def _curves(measurements: Sequence[Measurement], score: _Score) -> Plot:
    panels = _points(measurements, score)
    height = -(-len(panels) // 2)
    figure = Figure(figsize=(7.5, 0.9 + 2.3 * height), layout="constrained")
    cells = figure.subplots(height, 2, sharex=True, sharey=True, squeeze=False).ravel()
    handles: dict[str, Line2D] = {}
    for axes, (sampler, lines) in zip(cells, panels.items(), strict=False):
        axes.set_title(sampler)
        axes.tick_params(labelbottom=True)
        if not lines:
            axes.text(0.5, 0.5, "no reconstruction", transform=axes.transAxes, ha="center", va="center")
        for line, points in lines.items():
            style = _STYLES[_LINES.index(line)]
            handles[line] = axes.plot(*zip(*sorted(points), strict=True), label=line, **style)[0]
        bound = _draw_bound(axes.axhline, measurements, np.mean, "mean") if score.bounded else None
        if bound is not None:
            handles["bound"] = bound
    figure.supxlabel("network passes for an image, inversion and denoising", fontsize=10)
    figure.supylabel(f"PSNR against {score.target} (dB), mean", fontsize=10)
    ordered = [handles[name] for name in (*_LINES, "bound") if name in handles]
    if len(panels) < len(cells):
        cells[-1].set_axis_off()
        cells[-1].legend(handles=ordered, loc="center", handlelength=3.5, labelspacing=0.9)
    else:
        figure.legend(handles=ordered, loc="outside upper center", ncols=3, handlelength=3.5)
    return Plot(
        figure,
        f"Mean PSNR against {score.target} for the network passes of inversion and denoising, by sampler and by what "
        "the passes are spent on. Images without a reconstruction are left out of the mean.",
    )


_LINES = ("reversing", "renoising", "edit losses", "noise correction")


def _points(
    measurements: Sequence[Measurement], score: _Score
) -> Mapping[str, Mapping[str, list[tuple[float, float]]]]:
    """(passes, mean PSNR) of every row that has images, by sampler and line."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for own in by_method(measurements).values():
        curve = curve_of(own[0])
        lines = panels.setdefault(curve.sampler, {})
        values = [value for m in own if (value := score.of(m)) is not None]
        passes = [(m.passes_inversion or 0) + (m.passes_denoising or 0) for m in own if score.of(m) is not None]
        if values:
            lines.setdefault(curve.line, []).append((float(np.mean(passes)), float(np.mean(values))))
    return panels
