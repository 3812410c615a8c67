"""Plots of what edits change against what they keep, for made-up measurements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes

from renoise.evaluation.edit_plots import edit_plots
from renoise.evaluation.measurement import Measurement

Make = Callable[..., Measurement]


def points(axes: Axes, line: int = 0) -> list[tuple[float, float]]:
    xs, ys = (np.asarray(values, dtype=float).tolist() for values in axes.get_lines()[line].get_data())
    return list(zip(xs, ys, strict=True))


@pytest.fixture
def row(make_measurement: Make) -> Callable[..., list[Measurement]]:
    """A row on two edits of one image: of the concept, which changed, and of the style, of which half did."""

    def make(place: int, series: str | None, kept: float, *, seed: int = 0) -> list[Measurement]:
        def edit(kind: str, changed: float, image: str) -> Measurement:
            return make_measurement(
                label=f"row {place}",
                row=place,
                series=series,
                seed=seed,
                image=image,
                target=f"another {kind}",
                edit_type=kind,
                changed=changed,
                psnr_background=kept + 2 * seed,
                psnr_target=kept - 10.0,
                psnr_target_unedited=15.0,
            )

        return [edit("concept", 1.0, "a"), edit("style", 0.0, "a"), edit("concept", 1.0, "b"), edit("style", 1.0, "b")]

    return make


def test_a_series_is_a_line_in_the_order_of_its_rows(row: Callable[..., list[Measurement]]) -> None:
    rows = [*row(0, "rule, strengths", 30.0), *row(1, "rule, strengths", 28.0), *row(2, None, 25.0)]
    kept, near = edit_plots(rows)["edits"].figure.axes
    assert points(kept) == [(75.0, 30.0), (75.0, 28.0)]
    assert points(kept, 1) == [(75.0, 25.0)]
    assert points(near) == [(75.0, 20.0), (75.0, 18.0)]
    # The unedited image is a line across the panel.
    assert {y for _, y in points(near, -1)} == {15.0}
    assert kept.get_ylabel() == "PSNR of what was to be kept (dB)"


def test_each_type_of_edit_has_its_panels(row: Callable[..., list[Measurement]]) -> None:
    plots = edit_plots(row(0, None, 30.0))
    assert list(plots) == ["edits", "edits-by-type"]
    panels = plots["edits-by-type"].figure.axes
    assert [axes.get_title() for axes in panels] == ["concept", "concept", "style", "style"]
    assert [points(axes)[0][0] for axes in panels] == [100.0, 100.0, 50.0, 50.0]
    assert list(edit_plots([m for m in row(0, None, 30.0) if m.edit_type == "style"])) == ["edits"]


def test_the_mean_of_each_seed_is_a_pale_point(row: Callable[..., list[Measurement]]) -> None:
    kept = edit_plots([*row(0, None, 30.0), *row(0, None, 30.0, seed=1)])["edits"].figure.axes[0]
    assert [points(kept, line) for line in range(3)] == [[(75.0, 31.0)], [(75.0, 30.0)], [(75.0, 32.0)]]
    assert [line.get_alpha() for line in kept.get_lines()] == [None, 0.35, 0.35]


def test_the_legend_names_every_series_once(row: Callable[..., list[Measurement]]) -> None:
    (legend,) = edit_plots([*row(0, "x", 30.0), *row(1, "x", 20.0), *row(2, None, 1.0)])["edits"].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["x", "row 2", "the unedited image"]


def test_edits_without_an_image_are_left_out(row: Callable[..., list[Measurement]], make_failure: Make) -> None:
    broken = make_failure(label="broken", row=1, seed=0, target="a dog", edit_type="concept")
    plot = edit_plots([*row(0, None, 30.0), broken])["edits"]
    assert len(list(plot.figure.axes[0].get_lines())) == 1
    assert plot.render("png").startswith(b"\x89PNG")


def test_there_are_none_without_true_results(make_measurement: Make) -> None:
    assert edit_plots([make_measurement(target="a dog")]) == {}
