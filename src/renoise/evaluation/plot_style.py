"""What the plots of a run have in common: how they look and how they become files.

They are readable without colour: every line has another marker and another style. The colours are those of Okabe and
Ito (2008), which people tell apart whatever their colour vision is; their yellow is left out, because it is too pale on
white.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import Score, by_method
from renoise.evaluation.texts import in_plot

INK, PALE, BLUE, VERMILION = "#222222", "#D9D9D9", "#0072B2", "#D55E00"
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILION, "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 3))},
    {"color": INK, "marker": "X", "linestyle": (0, (1, 1))},
    {"color": BLUE, "marker": "*", "linestyle": (0, (8, 2))},
    {"color": VERMILION, "marker": "<", "linestyle": (0, (4, 1, 1, 1))},
)
BOUND: dict[str, Any] = {"color": INK, "linestyle": (0, (1, 1.5)), "linewidth": 1.5}
_POINT: dict[str, Any] = {"linestyle": ""}
# With the user's settings of matplotlib the plots would look, and fail, differently on every machine.
STYLE_SHEETS: list[Any] = ["default", Path(__file__).with_name("plots.mplstyle")]

# The rows of each line, each with its measurements.
Series = dict[str, list[list[Measurement]]]


@dataclass(frozen=True)
class Plot:
    """A figure and what it shows, in a sentence."""

    figure: Figure
    caption: str

    def render(self, form: Literal["png", "svg"], *, transparent: bool = False) -> bytes:
        """Return the figure as a file, which is the same for the same measurements and the same matplotlib."""
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
        with matplotlib.style.context(STYLE_SHEETS):
            self.figure.savefig(buffer, format=form, dpi=200, transparent=transparent, metadata=metadata)
        return buffer.getvalue()


def draw_bound(
    line: Callable[..., Line2D], measurements: Sequence[Measurement], score: Score, average: Literal["mean", "median"]
) -> Line2D | None:
    """Draw the autoencoder's bound by `Axes.axvline` or `Axes.axhline`, if there is one."""
    values = [] if score.bound is None else [(m.image, getattr(m, score.bound)) for m in measurements]
    bounds = {image: value for image, value in values if value is not None}
    if not bounds:
        return None
    value = float((np.mean if average == "mean" else np.median)(list(bounds.values())))
    return line(value, label=f"the autoencoder's bound, {average} {value:.2f} dB", **BOUND)


def say(axes: Axes, text: str) -> None:
    """Write a text in the middle of an empty panel."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")


def series_of(measurements: Sequence[Measurement]) -> Series:
    """Return the rows of each line, in the order of the run's rows; a row without a series is one by itself."""
    series: Series = {}
    for label, own in by_method(measurements).items():
        series.setdefault(own[0].series or label, []).append(own)
    return series


def style_of(place: int) -> dict[str, Any]:
    """Return how the line at a place among all looks; those beyond the styles have hollow markers."""
    return STYLES[place % len(STYLES)] | ({} if place < len(STYLES) else {"fillstyle": "none"})


def handles_of(series: Series) -> list[Line2D]:
    """Return the entries of the legend; a series of one row is a point without a line."""
    return [
        Line2D([], [], label=in_plot(name, lines=1), **{**style_of(place), **({} if len(rows) > 1 else _POINT)})
        for place, (name, rows) in enumerate(series.items())
    ]
