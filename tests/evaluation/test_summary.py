"""A run's tables: numbers worked out by hand, and what is not available said as such."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import FAILURE_MARGIN, METRICS, Line, Summary, as_csv, as_markdown, summarise

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]


def only(summary: Summary) -> Line:
    (line,) = summary.lines
    return line


def test_the_numbers_of_a_method(make_measurement: Make) -> None:
    measured = [
        make_measurement(
            image="a", psnr=20.0, l2=0.01, psnr_roundtrip=30.0, ssim=0.5, passes_inversion=40, seconds=1.0
        ),
        make_measurement(
            image="b", psnr=26.0, l2=0.03, psnr_roundtrip=50.0, ssim=0.7, passes_inversion=60, seconds=2.0
        ),
        make_measurement(
            image="c", psnr=23.0, l2=0.02, psnr_roundtrip=43.0, ssim=0.9, passes_inversion=80, seconds=6.0
        ),
    ]
    line = only(summarise(measured))
    assert (line["method"], line["num_inversion_steps"], line["num_steps"], line["iterations"]) == (
        "sampler reversing",
        4,
        4,
        0,
    )
    assert line["l2_mean"] == pytest.approx(0.02)
    assert line["psnr_mean"] == pytest.approx(23.0)
    assert line["psnr_median"] == pytest.approx(23.0)
    # Between the lowest two, 0.05 * 2 of the way from 20 to 23.
    assert line["psnr_p5"] == pytest.approx(20.3)
    assert line["psnr_roundtrip_mean"] == pytest.approx(41.0)
    assert line["ssim_mean"] == pytest.approx(0.7)
    assert line["passes_inversion"] == pytest.approx(60.0)
    assert line["passes_denoising"] == pytest.approx(4.0)
    assert line["seconds"] == pytest.approx(3.0)
    assert (line["failures"], line["pictures"], line["measured"], line["error"]) == (0.0, 3, 3, None)
    assert line["psnr_bound_mean"] == pytest.approx(31.0)


def test_the_median_of_an_even_number_lies_between_the_middle_two(make_row: MakeRow) -> None:
    assert only(summarise(make_row(20.0, 22.0, 25.0, 31.0)))["psnr_median"] == pytest.approx(23.5)


@pytest.mark.parametrize(
    ("psnr", "share"),
    [
        ((30.0, 30.0, 30.0, 30.0), 0.0),
        ((30.0, 30.0, 30.0, 30.0 - FAILURE_MARGIN), 0.0),  # exactly as far has not failed
        ((30.0, 30.0, 30.0, 29.99 - FAILURE_MARGIN), 0.25),
        ((30.0, 30.0, 30.0, 10.0, 10.0), 0.4),
        ((10.0, 10.0, 10.0, 50.0), 0.0),  # far above the median is none
    ],
)
def test_failures_are_those_far_under_the_methods_own_median(
    make_row: MakeRow, psnr: tuple[float, ...], share: float
) -> None:
    assert only(summarise(make_row(*psnr)))["failures"] == pytest.approx(share)


def test_a_image_without_a_reconstruction_has_failed_and_is_in_no_mean(make_failure: Make, make_row: MakeRow) -> None:
    line = only(summarise([*make_row(30.0, 32.0, 20.0), make_failure(image="9.png")]))
    assert line["failures"] == pytest.approx(2 / 4)
    assert line["psnr_mean"] == pytest.approx((30.0 + 32.0 + 20.0) / 3)
    assert (line["pictures"], line["measured"], line["error"]) == (4, 3, "NaN in the latent (1 of 4)")


@pytest.mark.parametrize(
    ("count", "lost", "median", "low"),
    [
        (21, 0, 30.0, 21.0),
        (21, 1, 29.0, 20.0),  # the second lowest of 21
        (21, 2, 28.0, None),
        (21, 10, 20.0, None),
        (21, 11, None, None),
        (4, 0, 21.5, 20.15),
        (4, 1, 20.5, None),  # in part an image without one
        (4, 2, None, None),
        (1, 1, None, None),
    ],
)
def test_images_without_a_reconstruction_rank_lowest(
    make_row: MakeRow, make_failure: Make, count: int, lost: int, median: float | None, low: float | None
) -> None:
    drawn = make_row(*(20.0 + i for i in range(count - lost)))
    line = only(summarise([*(make_failure(image=f"lost {i}") for i in range(lost)), *drawn]))
    assert line["psnr_median"] == (None if median is None else pytest.approx(median))
    assert line["psnr_p5"] == (None if low is None else pytest.approx(low))


def test_a_image_that_is_lost_improves_neither_median_nor_percentile(make_row: MakeRow, make_failure: Make) -> None:
    values = [12.0, 18.0, 21.0, 22.0, 25.0, 31.0]
    whole = only(summarise(make_row(*values)))
    for i in range(len(values)):
        rest = make_row(*(value for j, value in enumerate(values) if j != i))
        line = only(summarise([*rest, make_failure(image="lost")]))
        assert whole["psnr_median"] is not None
        assert line["psnr_median"] is not None
        assert line["psnr_median"] <= whole["psnr_median"]
        assert line["psnr_p5"] is None


def test_every_reason_is_told_with_its_count(make_row: MakeRow, make_failure: Make) -> None:
    lost = [make_failure(image=f"lost {i}", error=error) for i, error in enumerate(("a", "b", "a"))]
    text = as_markdown(summarise([*make_row(30.0, 31.0), *lost, *make_row(30.0, label="whole", row=1)]))
    assert text.endswith("\n\nsampler reversing: a (2 of 5); b (1 of 5)\n")


def test_the_bound_of_a_method_is_that_of_its_images(make_measurement: Make, make_failure: Make) -> None:
    measured = [
        make_measurement(image="a", psnr_bound=30.0),
        make_measurement(image="b", psnr_bound=34.0),
        make_failure(image="a", label="other", row=1),
        make_failure(image="b", label="other", row=1),
    ]
    assert [line["psnr_bound_mean"] for line in summarise(measured).lines] == [32.0, 32.0]


def test_the_columns_of_a_line() -> None:
    assert [metric.name for metric in summarise([]).metrics] == [
        "method",
        "num_inversion_steps",
        "num_steps",
        "iterations",
        "l2_mean",
        "psnr_mean",
        "psnr_median",
        "psnr_p5",
        "psnr_roundtrip_mean",
        "ssim_mean",
        "passes_inversion",
        "passes_denoising",
        "seconds",
        "failures",
        "ms_ssim_mean",
        "lpips_mean",
        "psnr_bound_mean",
        "pictures",
        "measured",
        "error",
    ]


def test_a_method_without_any_reconstruction(make_failure: Make) -> None:
    summary = summarise([make_failure(image="a"), make_failure(image="b", error="another reason")])
    line = only(summary)
    assert (line["failures"], line["pictures"], line["measured"]) == (1.0, 2, 0)
    assert line["error"] == "NaN in the latent (1 of 2); another reason (1 of 2)"
    assert (line["l2_mean"], line["psnr_mean"], line["psnr_median"], line["psnr_p5"]) == (None,) * 4
    assert (line["ssim_mean"], line["passes_inversion"], line["passes_denoising"], line["seconds"]) == (None,) * 4
    assert summary.psnr_bound_mean is None


def test_numbers_that_some_images_lack(make_measurement: Make) -> None:
    line = only(summarise([make_measurement(image="a", lpips=0.2), make_measurement(image="b", lpips=None)]))
    assert line["lpips_mean"] == pytest.approx(0.2)
    assert line["ms_ssim_mean"] is None


def test_the_bound_is_a_mean_over_images_and_not_over_rows(make_measurement: Make) -> None:
    measured = [
        make_measurement(image="a", psnr_bound=30.0),
        make_measurement(image="b", psnr_bound=34.0),
        make_measurement(image="a", psnr_bound=30.0, label="other", row=1),
    ]
    summary = summarise(measured)
    assert summary.psnr_bound_mean == pytest.approx(32.0)
    assert summary.images == 2


def test_methods_come_in_the_order_of_the_rows(make_measurement: Make) -> None:
    measured = [make_measurement(label=f"row {row}", row=row) for row in (2, 0, 1, 0)]
    assert [line["method"] for line in summarise(measured).lines] == ["row 0", "row 1", "row 2"]


def test_types_of_edits_are_of_edits_alone(make_measurement: Make) -> None:
    assert summarise([make_measurement(edit_type="add object")]).edit_types == {}


def test_no_measurements() -> None:
    assert summarise([]) == Summary(False, (), 0, 0, None, {})


def test_csv_has_a_header_and_leaves_empty_what_is_not_available(make_failure: Make, make_row: MakeRow) -> None:
    summary = summarise([*make_row(30.0, 31.0, label='a, "quoted" name'), make_failure(label="broken", row=1)])
    text = as_csv(summary)
    assert text.splitlines()[0] == ",".join(metric.name for metric in summary.metrics)
    first, second = csv.DictReader(io.StringIO(text))
    assert first["method"] == 'a, "quoted" name'
    assert (float(first["psnr_mean"]), first["lpips_mean"], first["error"]) == (30.5, "", "")
    assert (second["psnr_mean"], second["failures"], second["error"]) == ("", "1.0", "NaN in the latent (1 of 1)")


def test_markdown_shows_rounded_numbers_and_says_what_is_not_available(make_failure: Make, make_row: MakeRow) -> None:
    failure = make_failure(label="broken", row=1, image="a")
    text = as_markdown(summarise([*make_row(30.0, 31.0, 32.0, 10.0), failure]))
    head, blank, header, rule, first, second, empty, note = text.splitlines()
    assert (head, blank) == ("5 images; the autoencoder's round trip: 31.00 dB", "")
    cells = [dict(zip(columns(header), columns(row), strict=True)) for row in (first, second)]
    assert (cells[0]["psnr_mean"], cells[0]["l2_mean"], cells[0]["failures"]) == ("25.75", "0.00100", "25.0%")
    assert (cells[1]["method"], cells[1]["psnr_mean"], cells[1]["failures"]) == ("broken", "n/a", "100.0%")
    assert set(rule) <= set("| -")
    assert len(header) == len(rule) == len(first) == len(second)
    assert (empty, note) == ("", "broken: NaN in the latent (1 of 1)")


def test_markdown_says_what_is_not_available(make_measurement: Make) -> None:
    header, _, row = as_markdown(summarise([make_measurement()])).splitlines()[2:5]
    cells = dict(zip(columns(header), columns(row), strict=True))
    assert (cells["ms_ssim_mean"], cells["lpips_mean"]) == ("n/a", "n/a")


def columns(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_numbers_of_a_method_that_edits(make_measurement: Make, make_failure: Make) -> None:
    measured = [
        make_measurement(
            image="a",
            target="x",
            psnr=10.0,
            background=0.5,
            psnr_background=20.0,
            clip_whole=20.0,
            edit_type="add object",
        ),
        make_measurement(
            image="a",
            target="y",
            psnr=14.0,
            background=0.5,
            psnr_background=30.0,
            clip_whole=30.0,
            edit_type="add object",
        ),
        make_measurement(
            image="b", target="x", psnr=15.0, background=0.0, structure_distance=0.05, edit_type="change style"
        ),
        make_failure(image="c", target="x", edit_type="change style"),
    ]
    summary = summarise(measured)
    (line,) = summary.lines
    assert (summary.images, summary.asked, line["pictures"], line["edits"]) == (3, 4, 3, 4)
    assert (line["psnr_background_mean"], line["clip_whole_mean"]) == (25.0, 25.0)
    assert (line["psnr_to_source_mean"], line["structure_distance_mean"]) == (13.0, 0.05)
    assert (line["no_background"], line["failures"], line["error"]) == (1, 0.25, "NaN in the latent (1 of 4)")
    assert (line["ssim_background_mean"], line["lpips_background_mean"], line["clip_edited_mean"]) == (None,) * 3
    assert list(summary.edit_types) == ["add object", "change style"]
    (style,) = summary.edit_types["change style"]
    names = ("edits", "no_background", "failures", "psnr_background_mean")
    assert [style[name] for name in names] == [2, 1, 0.5, None]


def test_without_masks_nothing_is_said_of_them(make_measurement: Make) -> None:
    summary = summarise([make_measurement(target="x")])
    assert summary.lines[0]["no_background"] is None
    assert summary.edit_types == {}


def test_a_method_without_any_edit_says_why(make_failure: Make) -> None:
    summary = summarise([make_failure(target="x")])
    assert (summary.lines[0]["error"], summary.lines[0]["failures"]) == ("NaN in the latent (1 of 1)", 1.0)
    assert as_markdown(summary).endswith("\n\nsampler reversing: NaN in the latent (1 of 1)\n")


def test_csv_and_markdown_of_edits(make_measurement: Make) -> None:
    measured = [
        make_measurement(
            image=image, target="x", edit_type=sort, background=1.0, mse_background=0.01, label=label, row=row
        )
        for image, sort in (("a", "add object"), ("b", "change style"))
        for row, label in enumerate(("one", "another"))
    ]
    summary = summarise(measured)
    rows = list(csv.DictReader(as_csv(summary).splitlines()))
    assert [row["method"] for row in rows] == ["one", "another"]
    assert list(rows[0]) == [metric.name for metric in summary.metrics]
    assert (rows[0]["mse_background_mean"], rows[0]["clip_whole_mean"], rows[0]["edits"]) == ("0.01", "", "2")
    text = as_markdown(summary)
    assert text.startswith("| method  | num_inversion_steps |")
    assert "0.01000" in text.splitlines()[2]
    assert "n/a" in text.splitlines()[2]
    assert "\nadd object, 1 edits\n\n| method" in text
    assert "\nchange style, 1 edits\n\n| method" in text


@pytest.mark.parametrize("edits", [True, False])
def test_every_metric_has_one_name_in_a_sort_of_run(edits: bool) -> None:
    metrics = [metric for metric in METRICS if metric.edits in (None, edits)]
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names)
    assert all(metric.form for metric in metrics if metric.heading)


def test_details_are_told_where_a_run_goes_into_them(make_measurement: Make) -> None:
    measured = [
        make_measurement(image="a", psnr_roundtrip=40.0, passes_inversion=8, noise_kl=0.01, noise_mean=0.5),
        make_measurement(image="b", psnr_roundtrip=50.0, passes_inversion=13, noise_kl=0.03, noise_mean=-0.1),
    ]
    plain, detailed = only(summarise(measured)), only(summarise(measured, details=True))
    more = {name: value for name, value in detailed.items() if name not in plain}
    assert more == {
        "psnr_roundtrip_p5": pytest.approx(40.5),
        "passes_inversion_most": 13,
        "noise_mean": pytest.approx(0.2),
        "noise_deviation": pytest.approx(1.1),
        "noise_whiteness": pytest.approx(1.2),
        "noise_kl": pytest.approx(0.02),
    }
    assert {name: detailed[name] for name in plain} == plain
    text = as_markdown(summarise(measured, details=True))
    header, row = columns(text.splitlines()[2]), columns(text.splitlines()[4])
    cells = dict(zip(header, row, strict=True))
    assert (cells["passes_inversion"], cells["passes_inversion_most"], cells["noise_kl"]) == ("10.5", "13", "0.0200")


def test_old_results_have_no_details(make_row: MakeRow) -> None:
    nothing = dict.fromkeys(("noise_mean", "noise_deviation", "noise_whiteness", "noise_kl"))
    line = only(summarise(make_row(30.0, 31.0, **nothing), details=True))
    assert {name: line[name] for name in nothing} == nothing


def test_numbers_over_several_seeds(make_row: MakeRow) -> None:
    measured = [
        *make_row(30.0, 32.0, seed=0),
        *make_row(33.0, 35.0, seed=1),
        *make_row(31.0, 33.0, seed=2, psnr_roundtrip=41.0),
    ]
    summary = summarise(measured)
    line = only(summary)
    assert (summary.seeds, summary.images, summary.asked) == ((0, 1, 2), 2, 2)
    assert line["psnr_mean"] == pytest.approx(194 / 6)
    # The means are 31, 34 and 32.
    assert (line["psnr_spread"], line["psnr_roundtrip_spread"]) == (pytest.approx(3.0), pytest.approx(1.0))
    assert (line["pictures"], line["measured"]) == (2, 6)
    assert as_markdown(summary).startswith("2 images with each of the seeds 0, 1, 2; the autoencoder's round trip: ")
    assert "psnr_spread" not in only(summarise(measured[:2]))


def test_a_seed_without_any_image_has_no_part_in_the_spread(make_row: MakeRow, make_failure: Make) -> None:
    lost = make_failure(image="00.png", seed=1)
    assert only(summarise([*make_row(30.0, seed=0), lost]))["psnr_spread"] is None
    three = [*make_row(30.0, seed=0), lost, *make_row(31.0, seed=2)]
    assert only(summarise(three))["psnr_spread"] == pytest.approx(1.0)


def test_the_spread_of_edits(make_measurement: Make) -> None:
    measured = [
        make_measurement(target="x", seed=seed, psnr_background=20.0 + seed, clip_whole=25.0 - seed) for seed in (0, 1)
    ]
    line = only(summarise(measured))
    assert (line["psnr_background_spread"], line["clip_whole_spread"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert line["structure_distance_spread"] is None
    assert (line["pictures"], line["edits"]) == (1, 2)


def true_result(make: Make, kind: str, changed: float, seed: int = 0) -> Measurement:
    """A measurement of an edit whose true result is known."""
    kept = None if kind == "background" else 1.0
    near: dict[str, Any] = {"psnr_target": 20.0 + changed + seed, "psnr_target_unedited": 12.0}
    return make(target=f"another {kind}", edit_type=kind, changed=changed, kept=kept, seed=seed, **near)


def test_edits_with_their_true_results(make_measurement: Make) -> None:
    kinds = {"concept": 1.0, "background": 1.0, "style": 0.0}
    summary = summarise([true_result(make_measurement, kind, changed) for kind, changed in kinds.items()])
    line = only(summary)
    assert (line["changed"], line["kept"]) == (pytest.approx(2 / 3), 1.0)
    assert (line["psnr_target_mean"], line["psnr_target_unedited_mean"]) == (pytest.approx(20 + 2 / 3), 12.0)
    assert {name: lines[0]["changed"] for name, lines in summary.edit_types.items()} == kinds
    assert summary.edit_types["background"][0]["kept"] is None
    assert "| 66.7% | 100.0% | 20.67 " in " ".join(as_markdown(summary).split())
    assert "changed_spread" not in line


def test_true_results_over_seeds(make_measurement: Make) -> None:
    measured = [true_result(make_measurement, "style", changed, seed) for seed, changed in enumerate((0.0, 1.0))]
    line = only(summarise(measured))
    assert (line["changed"], line["changed_spread"]) == (0.5, 1.0)
    assert (line["psnr_target_mean"], line["psnr_target_spread"]) == (21.0, 2.0)


def test_edits_without_true_results_do_not_speak_of_them(make_measurement: Make) -> None:
    line = only(summarise([make_measurement(target="a dog")]))
    assert not {"changed", "kept", "psnr_target_mean"} & set(line)
