"""Plots against the network passes of the inversion: how near the reconstructions are, and what noise they start from.

Rows of one series are the points of one line. The axis of the passes is logarithmic, because methods differ by factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from renoise.evaluation.measurement import Measurement
from renoise.evaluation.plot_style import BOUND, Plot, Series, handles_of, say, series_of, style_of
from renoise.evaluation.summary import drawn, mean, percentile

_MOST_TICKS = 5
# A number of one row, of its measurements.
Value = Callable[[Sequence[Measurement]], float | None]


@dataclass(frozen=True)
class Panel:
    """What a panel shows against the passes.

    Attributes:
        title: the label of its axis, or its title.
        value: the number of a row.
        low: the lower end of the band under it; None draws no band.
        right: what white noise has; None if there is no such number.
        log: whether the axis is logarithmic.
    """

    title: str
    value: Value
    low: Value | None = None
    right: float | None = None
    log: bool = False


def _mean_of(field: str) -> Value:
    return lambda own: mean(getattr(m, field) for m in drawn(own))


_PASSES = _mean_of("passes_inversion")
_PSNR = Panel("PSNR against the\nround trip (dB)", _mean_of("psnr_roundtrip"), percentile(5, "psnr_roundtrip"))
_MEAN = Panel("mean of z_T", _mean_of("noise_mean"), right=0.0)
_DEVIATION = Panel("deviation of z_T", _mean_of("noise_deviation"), right=1.0)
_WHITENESS = Panel("whiteness of z_T", _mean_of("noise_whiteness"), right=1.0)
_KL = Panel("KL of z_T to N(0, 1)", _mean_of("noise_kl"), log=True)
_AXIS = "network passes of the inversion of one image"
_WHITE = Line2D([], [], label="white noise", **BOUND)


def frontier_plots(measurements: Sequence[Measurement]) -> dict[str, Plot]:
    """Draw the plots of at least one measurement, by the names of their files."""
    series = series_of(measurements)
    return {"frontier": _frontier(series), "noise": _noise(series)}


def _frontier(series: Series) -> Plot:
    """Return PSNR above, and below it on the same axis how far z_T is from white noise."""
    figure = Figure(figsize=(7.5, 7.6 + 0.2 * (len(series) // 2)), layout="constrained")
    panels = figure.subplots(3, sharex=True, height_ratios=(2.0, 1.0, 1.0))
    for axes, panel in zip(panels, (_PSNR, _DEVIATION, _KL), strict=True):
        _draw(axes, panel, series)
        axes.set_ylabel(panel.title)
    panels[-1].set_xlabel(_AXIS)
    figure.legend(handles=[*handles_of(series), _WHITE], loc="outside lower center", ncols=2, handlelength=3.5)
    return Plot(
        figure,
        "PSNR against the autoencoder's round trip, the mean over the images with a band or a line down to the 5th "
        "percentile, and what noise the inversions end in: its standard deviation, and the divergence of its channels "
        "from N(0, 1). The dotted line is white noise. Images without a reconstruction are left out of the means.",
    )


def _noise(series: Series) -> Plot:
    """Return all that is measured of z_T."""
    figure = Figure(figsize=(7.5, 5.2 + 0.2 * (len(series) // 2)), layout="constrained")
    cells = figure.subplots(2, 2, sharex=True).ravel()
    for axes, panel in zip(cells, (_MEAN, _DEVIATION, _WHITENESS, _KL), strict=True):
        _draw(axes, panel, series)
        axes.set_title(panel.title)
    figure.supxlabel(_AXIS, fontsize=10)
    figure.legend(handles=[*handles_of(series), _WHITE], loc="outside upper center", ncols=2, handlelength=3.5)
    return Plot(
        figure,
        "What noise the inversions end in, the means over the images: mean and standard deviation of z_T; its "
        "whiteness, which is the root mean square of its autocorrelations at lags of up to 3, in units of what white "
        "noise has; and the divergence of its channels from N(0, 1). The dotted line is white noise.",
    )


def _draw(axes: Axes, panel: Panel, series: Series) -> None:
    """Draw a panel, with a line for each series that has any numbers."""
    axes.set_xscale("log")
    shown = 0
    for place, rows in enumerate(series.values()):
        found = [(_PASSES(own), panel.value(own), panel.low and panel.low(own)) for own in rows]
        points = sorted((x, y, low) for x, y, low in found if x is not None and y is not None)
        if not points:
            continue
        shown += len(points)
        xs, ys, _ = zip(*points, strict=True)
        look = style_of(place)
        axes.plot(xs, ys, **look, zorder=3)
        _band(axes, [(x, y, low) for x, y, low in points if low is not None], look["color"])
    if not shown:
        say(axes, "nothing was measured")
        return
    if panel.log:
        axes.set_yscale("log")
    else:
        # As many ticks whatever the height is, so that the layout has room for their labels.
        axes.yaxis.set_major_locator(MaxNLocator(_MOST_TICKS, steps=(1, 2, 2.5, 5, 10)))
    if panel.right is not None:
        axes.axhline(panel.right, **BOUND)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _band(axes: Axes, points: Sequence[tuple[float, float, float]], color: str) -> None:
    """Draw how far the lowest values lie under the points: a band under a line, a line under a single point."""
    if len(points) == 1:
        ((x, y, low),) = points
        axes.vlines(x, low, y, color=color, alpha=0.5, linewidth=1.2, zorder=2)
    elif points:
        xs, ys, lows = zip(*points, strict=True)
        axes.fill_between(xs, lows, ys, color=color, alpha=0.13, linewidth=0, zorder=1)
