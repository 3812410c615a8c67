"""Plots against the network passes of the inversion: what they show, for made-up measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from renoise.evaluation.frontier_plots import frontier_plots
from renoise.evaluation.measurement import Measurement

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]


def points(axes: Axes, line: int = 0) -> list[tuple[float, float]]:
    xs, ys = (np.asarray(values, dtype=float).tolist() for values in axes.get_lines()[line].get_data())
    return list(zip(xs, ys, strict=True))


@pytest.fixture
def rows(make_measurement: Make) -> list[Measurement]:
    """Two rows of one series, whose costlier one comes first, and a row by itself; two images each."""

    def row(place: int, passes: int, series: str | None, **changes: Any) -> list[Measurement]:
        common: dict[str, Any] = {"label": f"row {place}", "row": place, "series": series, **changes}
        return [
            make_measurement(image=str(i), psnr_roundtrip=40.0 + 2 * i + place, passes_inversion=passes + i, **common)
            for i in range(2)
        ]

    return [
        *row(0, 20, "ours", noise_deviation=1.5),
        *row(1, 8, "ours", noise_deviation=0.5),
        *row(2, 4, None, noise_kl=0.2, noise_whiteness=3.0, noise_mean=-0.25),
    ]


def test_a_series_is_a_line_over_its_passes(rows: list[Measurement]) -> None:
    psnr, deviation, kl = frontier_plots(rows)["frontier"].figure.axes
    assert points(psnr) == [(8.5, 42.0), (20.5, 41.0)]
    assert points(psnr, 1) == [(4.5, 43.0)]
    assert points(deviation)[:2] == [(8.5, 0.5), (20.5, 1.5)]
    assert points(kl, 1) == [(4.5, 0.2)]
    assert {axes.get_xscale() for axes in (psnr, deviation, kl)} == {"log"}
    assert (psnr.get_yscale(), deviation.get_yscale(), kl.get_yscale()) == ("linear", "linear", "log")
    # White noise has the deviation 1.
    assert {y for _, y in points(deviation, -1)} == {1.0}


def test_the_5th_percentile_is_the_lower_end_of_the_band(rows: list[Measurement]) -> None:
    psnr = frontier_plots(rows)["frontier"].figure.axes[0]
    band, alone = psnr.collections
    extents = band.get_paths()[0].get_extents()
    assert (extents.x0, extents.x1) == (8.5, 20.5)
    assert (extents.y0, extents.y1) == pytest.approx((40.1, 42.0))
    assert np.asarray(alone.get_paths()[0].vertices).tolist() == [[4.5, pytest.approx(42.1)], [4.5, 43.0]]


def test_all_of_the_noise(rows: list[Measurement]) -> None:
    panels = frontier_plots(rows)["noise"].figure.axes
    assert [axes.get_title() for axes in panels] == [
        "mean of z_T",
        "deviation of z_T",
        "whiteness of z_T",
        "KL of z_T to N(0, 1)",
    ]
    assert [points(axes, 1) for axes in panels[::2]] == [[(4.5, -0.25)], [(4.5, 3.0)]]


def test_the_legend_names_every_series_once(rows: list[Measurement]) -> None:
    for plot in frontier_plots(rows).values():
        (legend,) = plot.figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["ours", "row 2", "white noise"]


def test_rows_without_numbers_are_left_out(make_row: MakeRow, make_failure: Make) -> None:
    old = make_row(30.0, 31.0, noise_deviation=None, noise_kl=None, noise_whiteness=None, noise_mean=None)
    plot = frontier_plots([*old, make_failure(label="broken", row=1)])["frontier"]
    psnr, deviation, _ = plot.figure.axes
    assert len(psnr.get_lines()) == 1
    assert [text.get_text() for text in deviation.texts] == ["nothing was measured"]
    assert plot.render("png").startswith(b"\x89PNG")


def test_more_series_than_styles(make_row: MakeRow) -> None:
    rows = [m for i in range(12) for m in make_row(30.0, label=f"row {i}", row=i)]
    psnr = frontier_plots(rows)["frontier"].figure.axes[0]
    assert len(psnr.get_lines()) == 12
