"""The folder of a run: which files it holds, and that equal measurements make equal files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from quick import slow_but
from renoise.errors import StorageError
from renoise.evaluation import outputs
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import RUNS
from report_pages import written

MakeRow = Callable[..., list[Measurement]]
MakeRun = Callable[..., list[Measurement]]
PLOTS = {"figure7": ["residuals"], "frontier": ["frontier", "noise"]}
USUAL_PLOTS = ["psnr", "psnr-roundtrip"]


@pytest.mark.parametrize("run", slow_but(["table1", "figure7", "editing"], RUNS))
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


@pytest.mark.parametrize("run", slow_but(["table1"], ["table1", "figure7", "figure8"]))
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
        outputs.write(tmp_path, "table1", make_run("table1", images=1))


def test_a_file_where_the_plots_should_lie(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "plots").touch()
    with pytest.raises(StorageError, match="name another"):
        outputs.write(tmp_path, "table1", make_run("table1", images=1))


def test_a_run_with_rows_of_ones_own(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "mine", [*make_row(30.0, 31.0), *make_row(32.0, 33.0, label="other", row=1)])
    assert "mine: a comparison of methods" in page.words
    assert [figure.get("id") for figure in page.all("figure") if figure.get("class") == "plot"] == USUAL_PLOTS


@pytest.mark.parametrize("run", slow_but(["table1", "figure7", "editing"], RUNS))
def test_rows_of_ones_own_under_any_name(run: str, make_row: MakeRow, tmp_path: Path) -> None:
    assert written(tmp_path, run, make_row(30.0, 31.0, settings={"kind": "mine"})).all("details")
