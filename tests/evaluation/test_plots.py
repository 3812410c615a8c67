"""The plots of a run: what they show, and that they are readable without colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from quick import slow_but
from renoise.evaluation import plots
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import RUNS, SAMPLERS, Plots

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]
MakeRun = Callable[..., list[Measurement]]


def axes_of(run: str, measurements: Sequence[Measurement], name: str = "psnr") -> list[Axes]:
    return plots.draw(RUNS[run].plots, measurements)[name].figure.axes


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata(), dtype=float)]


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata(), dtype=float)]


def test_strips_name_every_method_from_the_top(make_run: MakeRun) -> None:
    measured = make_run("table2", images=6)
    (axes,) = axes_of("table2", measured)
    labels = [" ".join(label.get_text().split()) for label in axes.get_yticklabels()]
    assert labels == list(dict.fromkeys(m.label for m in measured))
    assert axes.yaxis_inverted()
    assert "dB" in axes.get_xlabel()
    assert "the image" in axes.get_xlabel()
    (other,) = axes_of("table2", measured, "psnr-roundtrip")
    assert "round trip" in other.get_xlabel()


def test_strips_show_every_image_the_median_and_the_bound(make_row: MakeRow) -> None:
    (axes,) = axes_of("table2", make_row(30.0, 28.0, 33.0, 12.0, 29.0, 23.0, psnr_bound=34.5))
    points, failed, median, bound = axes.get_lines()
    assert xs(points) == [23.0, 28.0, 29.0, 30.0, 33.0]
    assert xs(failed) == [12.0]
    assert points.get_marker() != failed.get_marker()
    assert xs(median) == [28.5, 28.5]
    assert xs(bound) == [34.5, 34.5]
    assert bound.get_label() == "the autoencoder's bound, median 34.50 dB"
    assert texts(axes) == ["1 of 6", "28.50", "median\n(dB)", "failed"]
    assert len(set(ys(points))) == 5


def test_what_failed_against_the_image_is_marked_against_the_round_trip_too(make_row: MakeRow) -> None:
    measured = [replace(m, psnr_roundtrip=m.psnr and 2 * m.psnr) for m in make_row(30.0, 31.0, 10.0)]
    (axes,) = axes_of("table2", measured, "psnr-roundtrip")
    points, failed, median = axes.get_lines()
    assert (xs(points), xs(failed)) == ([60.0, 62.0], [20.0])
    assert xs(median) == [60.0, 60.0]


def test_what_failed_with_one_seed_is_not_marked_with_another(make_row: MakeRow) -> None:
    measured = [*make_row(30.0, 31.0, 10.0, seed=0), *make_row(30.5, 31.5, 32.0, seed=1)]
    (axes,) = axes_of("table2", measured)
    points, failed, *_ = axes.get_lines()
    assert (xs(points), xs(failed)) == ([30.0, 30.5, 31.0, 31.5, 32.0], [10.0])
    assert texts(axes)[0] == "1 of 6"


def test_a_strip_without_images_says_so(make_row: MakeRow, make_failure: Make) -> None:
    (axes,) = axes_of("table2", [*make_row(30.0), make_failure(label="broken", row=1)])
    assert texts(axes) == ["0 of 1", "30.00", "1 of 1", "n/a", "no reconstruction", "median\n(dB)", "failed"]


def test_so_many_points_that_an_svg_would_be_slow(make_row: MakeRow) -> None:
    plot = plots.draw(Plots.distributions, make_row(*np.linspace(20.0, 30.0, 3001)))["psnr"]
    assert len(plot.render("svg")) < 500_000


def test_residuals_fall_along_one_line_a_timestep(make_run: MakeRun, make_measurement: Make) -> None:
    rows = [((0.4, 0.2, 0.1), (0.8, 0.4)), ((0.2, 0.1, 0.05), (0.4, 0.2)), ((0.6, 0.3, 0.15), (0.6, 0.3))]
    measured = [
        make_measurement(image=str(i), residual_history=history, timesteps=(999.0, 499.0))
        for i, history in enumerate(rows)
    ]
    (axes,) = axes_of("figure7", measured, "residuals")
    assert axes.get_yscale() == "log"
    first, second = axes.get_lines()
    assert (first.get_label(), second.get_label()) == ("t = 999", "t = 499")
    assert xs(first) == [1, 2, 3]
    assert ys(first) == pytest.approx([0.4, 0.2, 0.1])
    assert ys(second) == pytest.approx([0.6, 0.3])
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((0.075, 0.5))


@pytest.mark.parametrize(("steps", "lines"), [(1, 1), (4, 4), (6, 6), (50, 6)])
def test_long_schedules_show_six_timesteps_evenly(steps: int, lines: int, make_run: MakeRun) -> None:
    (axes,) = axes_of("figure7", make_run("figure7", steps=steps), "residuals")
    labels = [str(line.get_label()) for line in axes.get_lines()]
    assert len(labels) == lines
    assert labels[0] == "t = 999"
    assert labels[-1] == f"t = {999 - 10 * (steps - 1)}"
    gaps = [int(a[4:]) - int(b[4:]) for a, b in pairwise(labels)]
    assert not gaps or max(gaps) - min(gaps) <= 10


def test_residuals_of_images_that_stopped_early_or_at_zero(make_measurement: Make) -> None:
    histories = [((0.4, 0.0),), ((0.2, 0.0, 0.0),)]
    measured = [
        make_measurement(image=str(i), residual_history=history, timesteps=(999.0,))
        for i, history in enumerate(histories)
    ]
    plot = plots.draw(Plots.residuals, measured)["residuals"]
    assert xs(plot.figure.axes[0].get_lines()[0]) == [1, 2, 3]
    assert plot.render("png").startswith(b"\x89PNG")


def test_each_sampler_has_a_panel_with_what_passes_are_spent_on(make_run: MakeRun) -> None:
    measured = make_run("figure8")
    panels = axes_of("figure8", measured)
    assert [axes.get_title() for axes in panels[: len(SAMPLERS)]] == list(SAMPLERS)
    by_title = {axes.get_title(): axes for axes in panels}
    lines = {str(line.get_label()): line for line in by_title["LCM"].get_lines()}
    assert list(lines) == [
        "reversing",
        "renoising",
        "edit losses",
        "noise correction",
        "the autoencoder's bound, mean 32.00 dB",
    ]
    assert "noise correction" not in [line.get_label() for line in by_title["DDIM"].get_lines()]
    assert xs(lines["reversing"]) == [8, 12, 16, 24, 32, 44]
    assert xs(lines["renoising"]) == [12, 16, 24, 32, 44]
    of_row = [m.psnr for m in measured if m.label == "LCM, renoising, K = 9" and m.psnr is not None]
    assert ys(lines["renoising"])[-1] == pytest.approx(np.mean(of_row))
    assert len({axes.get_ylim() for axes in panels[: len(SAMPLERS)]}) == 1
    against_round_trip = axes_of("figure8", measured, "psnr-roundtrip")
    assert [line.get_label() for line in against_round_trip[0].get_lines()] == ["reversing", "renoising", "edit losses"]


def test_images_that_failed_are_in_no_mean(make_run: MakeRun, make_failure: Make) -> None:
    measured = make_run("figure8", images=2)
    broken = [
        make_failure(row=m.row, label=m.label, settings=m.settings, image=m.image)
        if m.image == "01.png" or m.label == "DDIM, reversing, 4 steps"
        else m
        for m in measured
    ]
    line = axes_of("figure8", broken)[0].get_lines()[0]
    assert xs(line) == [12, 16, 24, 32, 44]
    assert ys(line)[0] == pytest.approx(24.01)


@pytest.mark.parametrize(("run", "name"), [("figure7", "residuals"), ("figure8", "psnr"), ("frontier", "frontier")])
def test_lines_are_told_apart_without_their_colours(run: str, name: str, make_run: MakeRun) -> None:
    panels = axes_of(run, make_run(run, steps=50), name)
    lines = max(([*axes.get_lines()] for axes in panels), key=len)
    looks = [(line.get_marker(), str(line.get_linestyle())) for line in lines]
    assert len(set(looks)) == len(looks)
    markers = [line.get_marker() for line in lines if line.get_marker() != "None"]
    assert len(set(markers)) == len(markers)
    okabe_ito = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
    assert {to_hex(line.get_color()) for line in lines} <= okabe_ito | {"#222222"}


@pytest.mark.parametrize("run", slow_but(["table1", "figure7", "editing"], RUNS))
def test_no_text_lies_on_other_text_or_is_cut_off(run: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: dict[Text, Bbox] = {}
    draw = Text.draw

    def recorded(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_visible():
            boxes[text] = text.get_window_extent(renderer)

    monkeypatch.setattr(Text, "draw", recorded)
    for plot in plots.draw(RUNS[run].plots, make_run(run, images=6)).values():
        boxes.clear()
        plot.render("png")
        shown = [(text.get_text(), box) for text, box in boxes.items() if text.get_text().strip()]
        assert len(shown) > 10
        # As large as it is drawn, in pixels.
        page = Bbox.from_bounds(0.0, 0.0, *(200 * plot.figure.get_size_inches()))
        assert [said for said, box in shown if not page.containsx(box.x0) or not page.containsx(box.x1)] == []
        assert [said for said, box in shown if not page.containsy(box.y0) or not page.containsy(box.y1)] == []
        for (said, box), (other, another) in combinations(shown, 2):
            assert not box.overlaps(another), (said, other)
