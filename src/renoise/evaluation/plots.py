"""The plots of a run (see `plot_style` for what they have in common)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from renoise.evaluation.edit_plots import edit_plots
from renoise.evaluation.frontier_plots import frontier_plots
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plot_style import BLUE, INK, PALE, STYLE_SHEETS, STYLES, VERMILION, Plot, draw_bound, say
from renoise.evaluation.runs import SAMPLERS, Plots
from renoise.evaluation.summary import FAILURE_MARGIN, METRICS, Score, by_method, failed, mean
from renoise.evaluation.texts import in_plot

__all__ = ["Curve", "Plot", "curve_of", "draw", "has_curves"]

# An eye cannot follow the lines of more timesteps than this.
_MOST_LINES = 6
# The middle half of fewer points than this says nothing.
_FEWEST_FOR_QUARTILES = 5
# An SVG of more points than this is slow to show, so that they are one image inside it.
_MOST_SHAPES = 3000

_LINES = ("reversing", "renoising", "edit losses", "noise correction")


class Curve(NamedTuple):
    """The place of a row among the curves: the sampler's panel, and the line in it (one of `_LINES`)."""

    sampler: str
    line: str


def draw(chosen: Plots, measurements: Sequence[Measurement]) -> dict[str, Plot]:
    """Draw the plots of a run from at least one measurement, by the names of their files.

    `chosen` is for reconstructions; of edits there are plots where their true results are known.
    """
    with matplotlib.style.context(STYLE_SHEETS):
        if any(m.target is not None for m in measurements):
            return edit_plots(measurements)
        if chosen is Plots.residuals:
            return {"residuals": _residuals(measurements)}
        if chosen is Plots.frontier:
            return frontier_plots(measurements)
        plot = _curves if has_curves(chosen, measurements) else _strips
        return {metric.score.name: plot(measurements, metric.score) for metric in METRICS if metric.score is not None}


def has_curves(chosen: Plots, measurements: Sequence[Measurement]) -> bool:
    """Return whether a run is drawn by samplers; rows of its user may have none."""
    return chosen is Plots.curves and all({"scheduler", "config"} <= m.settings.keys() for m in measurements)


def curve_of(measurement: Measurement) -> Curve:
    """Return the place of a row among the curves, by its settings."""
    scheduler, config = measurement.settings["scheduler"], measurement.settings["config"]
    sampler = next((ours for ours, (theirs, _) in SAMPLERS.items() if theirs == scheduler), str(scheduler))
    # The last thing that passes are spent on comes first.
    spent = {
        "noise correction": config["noise_correction"],
        "edit losses": config["edit_losses"],
        "renoising": config["renoising"]["iterations"],
    }
    return Curve(sampler, next((line for line, setting in spent.items() if setting), "reversing"))


# Distributions: one strip of points for each method. Columns of numbers stand this many points right of the plot.
_MEDIANS, _FAILED = 26.0, 78.0


def _strips(measurements: Sequence[Measurement], score: Score) -> Plot:
    rows = by_method(measurements)
    figure = Figure(figsize=(7.5, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    many = len(measurements) > _MOST_SHAPES
    for y, own in enumerate(rows.values()):
        _strip(axes, y, own, score, many)
    axes.set_yticks(range(len(rows)), [in_plot(label) for label in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"PSNR against {score.target} (dB), higher is better")
    _note(axes, _MEDIANS, -0.55, "median\n(dB)", va="bottom")
    _note(axes, _FAILED, -0.55, "failed", va="bottom")
    bound = draw_bound(axes.axvline, measurements, score, "median")
    handles = [
        Line2D([], [], color=BLUE, marker="o", linestyle="", ms=5.0, label="an image"),
        Line2D([], [], color=VERMILION, marker="X", linestyle="", ms=6.5, label="an image that failed"),
        Patch(color=PALE, label="the middle half of the images"),
        Line2D([], [], color=INK, marker="|", linestyle="", ms=11, mew=2.5, label="the median"),
        *([] if bound is None else [bound]),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return Plot(
        figure,
        f"PSNR of each method's reconstructions against {score.target}, one point an image. An image has failed if "
        f"it has no reconstruction, or one whose PSNR against the image is more than {FAILURE_MARGIN:g} dB under the "
        "method's median.",
    )


def _strip(axes: Axes, y: int, own: Sequence[Measurement], score: Score, many: bool) -> None:
    """Draw one method's points, their quartiles and median, and how many of its images failed."""
    without = {(m.image, m.seed) for m in failed(own)}
    points = sorted((value, (m.image, m.seed) in without) for m in own if (value := score.of(m)) is not None)
    _note(axes, _FAILED, y, f"{len(without)} of {len(own)}", color=VERMILION if without else INK)
    if not points:
        _note(axes, _MEDIANS, y, "n/a")
        axes.text(0.02, y, "no reconstruction", transform=axes.get_yaxis_transform(), va="center")
        return
    values = np.array([value for value, _ in points])
    low, median, high = np.percentile(values, (25, 50, 75))
    if len(values) >= _FEWEST_FOR_QUARTILES:
        axes.barh(y, high - low, left=low, height=0.76, color=PALE, zorder=1)
    # Neighbours in value lie far apart in height, by the golden ratio, so that no point hides another.
    heights = y + 0.56 * (np.arange(len(values)) * 0.618034 % 1.0 - 0.5)
    bad = np.array([is_bad for _, is_bad in points])
    size = 6.0 if len(values) < 20 else 4.0 if len(values) < 300 else 2.0
    axes.plot(values[~bad], heights[~bad], "o", color=BLUE, ms=size, alpha=0.6, mew=0, zorder=2, rasterized=many)
    axes.plot(values[bad], heights[bad], "X", color=VERMILION, ms=6.5, mec="white", mew=0.5, zorder=3)
    axes.plot([median, median], [y - 0.37, y + 0.37], color=INK, linewidth=2.5, zorder=4)
    _note(axes, _MEDIANS, y, f"{median:.2f}")


def _note(axes: Axes, points: float, y: float, text: str, **look: Any) -> None:
    """Write a cell of a column that stands this many points right of the plot."""
    place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    look = {"ha": "center", "va": "center", "fontsize": 9, "color": INK, **place, **look}
    axes.annotate(text, (1.0, y), (points, 0.0), **look)


# Residuals: one line for each timestep.


def _residuals(measurements: Sequence[Measurement]) -> Plot:
    rows = by_method(measurements)
    figure = Figure(figsize=(7.0, 4.0 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (method, own) in zip(panels, rows.items(), strict=True):
        axes.set_title(in_plot(method, lines=1))
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
        say(axes, "no residuals were measured")
        return
    steps = len(own[0].timesteps)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # At most six of the steps, evenly spread and with both ends among them.
    shown = [round(place) for place in np.linspace(0, steps - 1, min(steps, _MOST_LINES))]
    for style, step in zip(STYLES, shown, strict=False):
        low, middle, high = _quartiles([m.residual_history[step] for m in own if m.residual_history])
        passes = np.arange(1, len(middle) + 1)
        axes.fill_between(passes, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(passes, middle, label=f"t = {own[0].timesteps[step]:.0f}", **style)
    axes.legend(title="timestep", loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3.5)


def _quartiles(histories: Sequence[Sequence[float]]) -> tuple[Any, Any, Any]:
    """Return lower quartile, mean and upper quartile at every pass, over the images that got so far."""
    passes = [[h[k] for h in histories if k < len(h)] for k in range(max(map(len, histories)))]
    low, high = (np.array([np.percentile(values, q) for values in passes]) for q in (25, 75))
    return low, np.array([np.mean(values) for values in passes]), high


# PSNR against network passes: one panel for each sampler.


def _curves(measurements: Sequence[Measurement], score: Score) -> Plot:
    panels = _points(measurements, score)
    height = -(-len(panels) // 2)
    figure = Figure(figsize=(7.5, 0.9 + 2.3 * height), layout="constrained")
    cells = figure.subplots(height, 2, sharex=True, sharey=True, squeeze=False).ravel()
    handles: dict[str, Line2D] = {}
    for axes, (sampler, lines) in zip(cells, panels.items(), strict=False):
        axes.set_title(in_plot(sampler, lines=1))
        axes.tick_params(labelbottom=True)
        if not lines:
            say(axes, "no reconstruction")
        for line, points in lines.items():
            style = STYLES[_LINES.index(line)]
            handles[line] = axes.plot(*zip(*sorted(points), strict=True), label=line, **style)[0]
        bound = draw_bound(axes.axhline, measurements, score, "mean")
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


def _points(measurements: Sequence[Measurement], score: Score) -> Mapping[str, Mapping[str, list[tuple[float, float]]]]:
    """Return (passes, mean PSNR) of every row that has images, by sampler and line."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for own in by_method(measurements).values():
        sampler, line = curve_of(own[0])
        lines = panels.setdefault(sampler, {})
        shown = [m for m in own if score.of(m) is not None]
        passes = mean((m.passes_inversion or 0) + (m.passes_denoising or 0) for m in shown)
        value = mean(map(score.of, shown))
        if passes is not None and value is not None:
            lines.setdefault(line, []).append((passes, value))
    return panels
