"""Plots of edits whose true results are known: what changed as asked against what was kept.

Rows of one series, such as one rule at several strengths, are the points of one line in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plot_style import BOUND, Plot, handles_of, say, series_of, style_of
from renoise.evaluation.summary import drawn, mean, seeds_of
from renoise.evaluation.texts import in_plot


@dataclass(frozen=True)
class _Height:
    """What stands against the share of edits that changed as asked: a field of a measurement, and its axis."""

    field: str
    title: str
    # The field of what the unedited image has of it.
    unedited: str | None = None


_KEPT = _Height("psnr_background", "PSNR of what was to be kept (dB)")
_NEAR = _Height("psnr_target", "PSNR against the true result (dB)", "psnr_target_unedited")
_HEIGHTS = (_KEPT, _NEAR)
_AXIS = "changed as asked (%)"
_UNEDITED = Line2D([], [], label="the unedited image", **BOUND)


def edit_plots(measurements: Sequence[Measurement]) -> dict[str, Plot]:
    """Draw the plots of at least one measurement, by the names of their files; none without true results."""
    if all(m.psnr_target is None for m in measurements):
        return {}
    types = dict.fromkeys(m.edit_type for m in measurements)
    plots = {"edits": _plot({"all edits": measurements}, measurements)}
    if len(types) > 1:
        each = {str(name): [m for m in measurements if m.edit_type == name] for name in types}
        plots["edits-by-type"] = _plot(each, measurements)
    return plots


def _plot(rows: Mapping[str, Sequence[Measurement]], everything: Sequence[Measurement]) -> Plot:
    """Return a figure with a row of panels for each group of edits."""
    series = series_of(everything)
    figure = Figure(figsize=(8.0, 3.2 * len(rows) + 0.6 + 0.2 * (len(series) // 2)), layout="constrained")
    panels = figure.subplots(len(rows), len(_HEIGHTS), squeeze=False)
    for (name, own), line in zip(rows.items(), panels, strict=True):
        for axes, height in zip(line, _HEIGHTS, strict=True):
            _draw(axes, height, own, list(series))
            axes.set_title(in_plot(name, lines=1))
    for axes in panels[-1]:
        axes.set_xlabel(_AXIS)
    figure.legend(handles=[*handles_of(series), _UNEDITED], loc="outside lower center", ncols=2, handlelength=3.5)
    return Plot(
        figure,
        "The share of edits that changed as asked, against the PSNR of what was to be kept (where the image and the "
        "true result agree) and against the PSNR against the true result: means over the edits. Lines join the rows of "
        "a series in their order. Of several seeds, the mean of each is a pale point. The dotted line is the unedited "
        "image. Edits without an image are left out.",
    )


def _draw(axes: Axes, height: _Height, own: Sequence[Measurement], names: list[str]) -> None:
    """Draw a panel; a series has the look of its place among `names`."""
    shown = 0
    for name, rows in series_of(own).items():
        points = _points(height, rows)
        if not points:
            continue
        shown += len(points)
        look = style_of(names.index(name))
        axes.plot(*zip(*points, strict=True), **look, zorder=3)
        seeds = seeds_of(own)
        for seed in seeds if len(seeds) > 1 else ():
            single = _points(height, [[m for m in row if m.seed == seed] for row in rows])
            xs, ys = zip(*single, strict=True) if single else ((), ())
            axes.plot(xs, ys, marker=look["marker"], color=look["color"], ms=3, ls="", alpha=0.35)
    if not shown:
        say(axes, "nothing was measured")
        return
    unedited = None if height.unedited is None else mean(getattr(m, height.unedited) for m in drawn(own))
    if unedited is not None:
        axes.axhline(unedited, **BOUND)
    axes.set_xlim(-4.0, 104.0)
    axes.set_ylabel(height.title)


def _points(height: _Height, rows: list[list[Measurement]]) -> list[tuple[float, float]]:
    """Return the point of each row that has both numbers."""
    found = [(mean(m.changed for m in drawn(row)), mean(getattr(m, height.field) for m in drawn(row))) for row in rows]
    return [(100.0 * x, y) for x, y in found if x is not None and y is not None]
