"""The plots and the report of a run: what they show, that they stand alone, and that what is missing is said to be."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from renoise.errors import StorageError
from renoise.evaluation import outputs, plots
from renoise.evaluation.keeping import Kind, picture_path
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import RUNS, SAMPLERS

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]
MakeRun = Callable[..., list[Measurement]]

PLOTS = {"figure7": ["residuals"]}
USUAL_PLOTS = ["psnr", "psnr-roundtrip"]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A report, read strictly: every element closes in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.said).split())


def written(folder: Path, run: str, measurements: Sequence[Measurement]) -> Page:
    outputs.write(folder, run, measurements)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def keep_picture(folder: Path, m: Measurement, kind: Kind, size: tuple[int, int] = (16, 16)) -> Path:
    path = picture_path(folder, m, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)
    return path


def axes_of(run: str, measurements: Sequence[Measurement], name: str = "psnr") -> list[Axes]:
    return plots.draw(run, measurements)[name].figure.axes


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata(), dtype=float)]


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata(), dtype=float)]


# The folder.


@pytest.mark.parametrize("run", RUNS)
def test_the_folder_of_every_run(run: str, make_run: MakeRun, tmp_path: Path) -> None:
    page = written(tmp_path, run, make_run(run))
    names = PLOTS.get(run, USUAL_PLOTS)
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == sorted(f"{name}.{form}" for name in names for form in ("png", "svg"))
    for name in names:
        with Image.open(tmp_path / "plots" / f"{name}.png") as picture:
            picture.load()
            assert picture.width >= 1000
        assert ElementTree.parse(tmp_path / "plots" / f"{name}.svg").getroot().tag.endswith("svg")
    assert {"summary.csv", "summary.md", "report.html"} < {path.name for path in tmp_path.iterdir()}
    assert f"{run}: {RUNS[run].about}" in page.words
    assert [figure.get("id") for figure in page.all("figure") if figure.get("class") == "plot"] == names


@pytest.mark.parametrize("run", ["table1", "figure7", "figure8"])
def test_equal_measurements_make_equal_files(run: str, make_run: MakeRun, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    outputs.write(first, run, make_run(run))
    with matplotlib.rc_context({"font.size": 20.0, "axes.facecolor": "black", "svg.fonttype": "none"}):
        before = dict(matplotlib.rcParams)
        outputs.write(second, run, make_run(run))
        assert dict(matplotlib.rcParams) == before
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) >= 5
    for path in files:
        assert (first / path).read_bytes() == (second / path).read_bytes(), path


@pytest.mark.parametrize("name", ["summary.csv", "plots/psnr.png", "plots/psnr-roundtrip.svg", "report.html"])
def test_what_cannot_be_written_is_named(name: str, make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(StorageError, match=rf"cannot write .*{re.escape(name)}.*; free space or name another folder"):
        outputs.write(tmp_path, "table1", make_run("table1", pictures=1))


def test_a_file_where_the_plots_should_lie(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "plots").touch()
    with pytest.raises(StorageError, match="name another"):
        outputs.write(tmp_path, "table1", make_run("table1", pictures=1))


def test_a_run_with_rows_of_ones_own(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "mine", [*make_row(30.0, 31.0), *make_row(32.0, 33.0, method="other", row=1)])
    assert "mine: a comparison of methods" in page.words
    assert [figure.get("id") for figure in page.all("figure") if figure.get("class") == "plot"] == USUAL_PLOTS


@pytest.mark.parametrize("run", RUNS)
def test_rows_of_ones_own_under_any_name(run: str, make_row: MakeRow, tmp_path: Path) -> None:
    assert written(tmp_path, run, make_row(30.0, 31.0, settings={"kind": "mine"})).all("details")


# The report.


@pytest.mark.parametrize("run", RUNS)
def test_the_report_stands_alone(run: str, make_run: MakeRun, tmp_path: Path) -> None:
    measured = make_run(run, pictures=2)
    keep_picture(tmp_path, measured[0], "picture")
    page = written(tmp_path, run, measured)
    assert page.all("img")
    for image in page.all("img"):
        assert image["alt"]
        assert str(image["src"]).startswith("data:image/")
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert not [a for _, a in page.tags if any(name in a for name in ("href", "srcset", "onclick", "style"))]
    assert not re.search(r"url\(|@import|https?://", page.text)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in page.text


def test_what_was_measured(make_row: MakeRow, tmp_path: Path) -> None:
    older = make_row(30.0, 31.0, versions={"renoise": "0.0.9"})
    page = written(tmp_path, "table2", [*older, *make_row(32.0, 33.0, method="newer", row=1)])
    for fact in ("mini (float32 on cpu)", "mini-heldout", "images 2", "seed 7", "31.00 dB, the mean"):
        assert fact in page.words
    assert "renoise 0.0.9, renoise 0.1.0, torch 2.13.0" in page.words


def test_the_table_says_what_is_not_available(make_row: MakeRow, make_failure: Make, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", [*make_row(30.0, 31.0), make_failure(method="broken", row=1)])
    row = re.search(r'<th scope="row">broken</th>(.*?)</tr>', page.text)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[1])
    assert cells[:6] == ["n/a", "n/a", "n/a", "n/a", "100.0%", "n/a"]
    assert "30.50" in page.words


def test_markup_in_names_stays_text(make_row: MakeRow, tmp_path: Path) -> None:
    label = '<script>alert("$title")</script> & co'
    measured = [replace(m, picture='"><b>.png') for m in make_row(30.0, method=label, model="<i>mini", data="a & b")]
    keep_picture(tmp_path, measured[0], "picture")
    page = written(tmp_path, "table2", measured)
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert label in page.words
    assert '"><b>.png, the image' in [image["alt"] for image in page.all("img")]


def test_pictures_are_embedded_and_those_missing_are_said_to_be(make_row: MakeRow, tmp_path: Path) -> None:
    measured = [*make_row(30.0, 31.0), *make_row(32.0, 33.0, method="other", row=1)]
    keep_picture(tmp_path, measured[0], "picture")
    keep_picture(tmp_path, measured[0], "round-trip")
    keep_picture(tmp_path, measured[0], "drawn")
    keep_picture(tmp_path, measured[1], "picture")
    keep_picture(tmp_path, measured[2], "drawn").write_bytes(b"no image at all")
    page = written(tmp_path, "table2", measured)
    alts = [image["alt"] for image in page.all("img")]
    assert alts.count("00.png, the image") == 3  # in the grid, and in the tail of both methods
    assert alts.count("00.png, the autoencoder's round trip") == 1
    assert alts.count("00.png, reconstructed by: sampler reversing") == 2
    # Of 01.png the round trip, and twice each: the damaged one, and both methods' reconstructions of 01.png.
    assert page.words.count("no image") == 1 + 2 * 3


def test_a_picture_is_found_under_the_name_that_it_had(make_row: MakeRow, tmp_path: Path) -> None:
    measured = make_row(30.0)
    for kind in ("picture", "round-trip", "drawn"):
        keep_picture(tmp_path, replace(measured[0], picture="old/name.png"), kind)
    page = written(tmp_path, "table2", measured)
    assert "no image" not in page.words


def test_a_picture_that_could_not_be_read_for_one_method_is_shown(make_failure: Make, tmp_path: Path) -> None:
    first = make_failure(method="a", picture="00.png", picture_hash="x")
    unread = replace(first, picture_hash="", key="y", method="b", row=1)
    keep_picture(tmp_path, first, "picture")
    page = written(tmp_path, "table2", [unread, first])
    assert "00.png, the image" in [image["alt"] for image in page.all("img")]


def test_embedded_pictures_are_small(make_row: MakeRow, tmp_path: Path) -> None:
    measured = make_row(30.0)
    keep_picture(tmp_path, measured[0], "picture", size=(1024, 768))
    page = written(tmp_path, "table2", measured)
    source = next(str(i["src"]) for i in page.all("img") if i["alt"] == "00.png, the image")
    with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as picture:
        assert picture.size == (192, 144)


def test_the_grid_shows_the_first_eight_pictures(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", make_row(*(30.0 + i for i in range(12))))
    grid = page.text[page.text.index('<table class="pictures">') : page.text.index("The worst of each method")]
    assert re.findall(r"(\d\d)\.png</th>", grid) == [f"{i:02d}" for i in range(8)]
    assert "The first 8 of 12 images;" in page.words
    assert "37.00 dB" in grid


def test_a_grid_with_a_failure_and_a_picture_not_measured(
    make_row: MakeRow, make_failure: Make, tmp_path: Path
) -> None:
    # What an earlier measurement left is not shown as if the method had not failed.
    failed = make_failure(method="b", row=1, picture="00.png")
    keep_picture(tmp_path, failed, "drawn")
    page = written(tmp_path, "table2", [*make_row(30.0, 31.0), failed])
    assert "not measured" in page.words
    assert not [image for image in page.all("img") if image["alt"] == "00.png, reconstructed by: b"]


def test_the_grid_of_figure8_is_a_choice(make_run: MakeRun, tmp_path: Path) -> None:
    measured = make_run("figure8", pictures=1)
    page = written(tmp_path, "figure8", measured)
    grid = page.text[page.text.index('<table class="pictures">') : page.text.index("The worst of each method")]
    headings = re.findall(r'<th scope="col">(.*?)</th>', grid)[2:]
    expected = [f"{s}, {what}" for s in SAMPLERS for what in ("reversing, 4 steps", "renoising, K = 9")]
    assert headings == expected
    methods = len({m.method for m in measured})
    assert f"under {len(expected)} of {methods} methods" in page.words
    assert len(page.all("details")) == methods
    assert not [details for details in page.all("details") if "open" in details]


def test_the_tail_shows_the_worst_three_and_how_far_under_the_median(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", make_row(30.0, 22.5, 31.0, 12.0, 32.0, 29.0, 33.0))
    tail = page.words[page.words.index("The worst of each method") :]
    assert "worst 12.00 dB, median 30.00 dB" in tail
    assert re.findall(r"(\d\d)\.png (.*?), (.*?) the median", tail) == [
        ("03", "12.00 dB", "18.00 dB under"),
        ("01", "22.50 dB", "7.50 dB under"),
        ("05", "29.00 dB", "1.00 dB under"),
    ]
    assert tail.count("the median: failed") == 2


def test_reasons_for_failures_are_told_once(make_row: MakeRow, make_failure: Make, tmp_path: Path) -> None:
    failed = [make_failure(picture=f"{i}.png", error="NaN in step <3>") for i in (7, 8)]
    page = written(tmp_path, "table2", [*make_row(30.0), *failed, make_failure(picture="9.png", error="too large")])
    assert "2 of 4 without a reconstruction : NaN in step <3> 7.png, 8.png" in page.words
    assert "1 of 4 without a reconstruction : too large 9.png" in page.words


@pytest.mark.parametrize("run", RUNS)
def test_a_run_in_which_everything_failed(run: str, make_run: MakeRun, make_failure: Make, tmp_path: Path) -> None:
    names = ("row", "method", "settings", "picture")
    failed = [make_failure(**{n: getattr(m, n) for n in names}) for m in make_run(run, pictures=2)]
    page = written(tmp_path, run, failed)
    assert "2 of 2 without a reconstruction" in page.words
    assert "median n/a" in page.words


# The plots.


def test_strips_name_every_method_from_the_top(make_run: MakeRun) -> None:
    measured = make_run("table2", pictures=6)
    (axes,) = axes_of("table2", measured)
    labels = [" ".join(label.get_text().split()) for label in axes.get_yticklabels()]
    assert labels == list(dict.fromkeys(m.method for m in measured))
    assert axes.yaxis_inverted()
    assert "dB" in axes.get_xlabel()
    assert "the image" in axes.get_xlabel()
    (other,) = axes_of("table2", measured, "psnr-roundtrip")
    assert "round trip" in other.get_xlabel()


def test_strips_show_every_picture_the_median_and_the_bound(make_row: MakeRow) -> None:
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


def test_what_failed_against_the_picture_is_marked_against_the_round_trip_too(make_row: MakeRow) -> None:
    measured = [replace(m, psnr_roundtrip=m.psnr and 2 * m.psnr) for m in make_row(30.0, 31.0, 10.0)]
    (axes,) = axes_of("table2", measured, "psnr-roundtrip")
    points, failed, median = axes.get_lines()
    assert (xs(points), xs(failed)) == ([60.0, 62.0], [20.0])
    assert xs(median) == [60.0, 60.0]


def test_a_strip_without_pictures_says_so(make_row: MakeRow, make_failure: Make) -> None:
    (axes,) = axes_of("table2", [*make_row(30.0), make_failure(method="broken", row=1)])
    assert texts(axes) == ["0 of 1", "30.00", "1 of 1", "n/a", "no reconstruction", "median\n(dB)", "failed"]


def test_so_many_points_that_an_svg_would_be_slow(make_row: MakeRow) -> None:
    plot = plots.draw("table2", make_row(*np.linspace(20.0, 30.0, 3001)))["psnr"]
    assert len(plot.render("svg")) < 500_000


def test_residuals_fall_along_one_line_a_timestep(make_run: MakeRun, make_measurement: Make) -> None:
    rows = [((0.4, 0.2, 0.1), (0.8, 0.4)), ((0.2, 0.1, 0.05), (0.4, 0.2)), ((0.6, 0.3, 0.15), (0.6, 0.3))]
    measured = [
        make_measurement(picture=str(i), residual_history=history, timesteps=(999.0, 499.0))
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


def test_residuals_of_pictures_that_stopped_early_or_at_zero(make_measurement: Make) -> None:
    histories = [((0.4, 0.0),), ((0.2, 0.0, 0.0),)]
    measured = [
        make_measurement(picture=str(i), residual_history=history, timesteps=(999.0,))
        for i, history in enumerate(histories)
    ]
    plot = plots.draw("figure7", measured)["residuals"]
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
    of_row = [m.psnr for m in measured if m.method == "LCM, renoising, K = 9" and m.psnr is not None]
    assert ys(lines["renoising"])[-1] == pytest.approx(np.mean(of_row))
    assert len({axes.get_ylim() for axes in panels[: len(SAMPLERS)]}) == 1
    against_round_trip = axes_of("figure8", measured, "psnr-roundtrip")
    assert [line.get_label() for line in against_round_trip[0].get_lines()] == ["reversing", "renoising", "edit losses"]


def test_pictures_that_failed_are_in_no_mean(make_run: MakeRun, make_failure: Make) -> None:
    measured = make_run("figure8", pictures=2)
    broken = [
        make_failure(row=m.row, method=m.method, settings=m.settings, picture=m.picture)
        if m.picture == "01.png" or m.method == "DDIM, reversing, 4 steps"
        else m
        for m in measured
    ]
    line = axes_of("figure8", broken)[0].get_lines()[0]
    assert xs(line) == [12, 16, 24, 32, 44]
    assert ys(line)[0] == pytest.approx(24.01)


@pytest.mark.parametrize(("run", "name"), [("figure7", "residuals"), ("figure8", "psnr")])
def test_lines_are_told_apart_without_their_colours(run: str, name: str, make_run: MakeRun) -> None:
    panels = axes_of(run, make_run(run, steps=50), name)
    lines = max(([*axes.get_lines()] for axes in panels), key=len)
    looks = [(line.get_marker(), str(line.get_linestyle())) for line in lines]
    assert len(set(looks)) == len(looks)
    markers = [line.get_marker() for line in lines if line.get_marker() != "None"]
    assert len(set(markers)) == len(markers)
    okabe_ito = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
    assert {to_hex(line.get_color()) for line in lines} <= okabe_ito | {"#222222"}


@pytest.mark.parametrize("run", RUNS)
def test_no_text_lies_on_other_text(run: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: dict[Text, Bbox] = {}
    draw = Text.draw

    def recorded(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_visible():
            boxes[text] = text.get_window_extent(renderer)

    monkeypatch.setattr(Text, "draw", recorded)
    for plot in plots.draw(run, make_run(run, pictures=6)).values():
        boxes.clear()
        plot.render("png")
        shown = [(text.get_text(), box) for text, box in boxes.items() if text.get_text().strip()]
        assert len(shown) > 10
        for (said, box), (other, another) in combinations(shown, 2):
            assert not box.overlaps(another), (said, other)
