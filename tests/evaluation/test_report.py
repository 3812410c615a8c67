"""The report of a run: what it shows, that it stands alone, and that what is missing is said to be."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from quick import slow_but
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.runs import RUNS, SAMPLERS
from report_pages import keep_image, written

Make = Callable[..., Measurement]
MakeRow = Callable[..., list[Measurement]]
MakeRun = Callable[..., list[Measurement]]


@pytest.mark.parametrize("run", slow_but(["table1", "figure7", "editing"], RUNS))
def test_the_report_stands_alone(run: str, make_run: MakeRun, tmp_path: Path) -> None:
    measured = make_run(run, images=2)
    keep_image(tmp_path, measured[0], "picture")
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
    page = written(tmp_path, "table2", [*older, *make_row(32.0, 33.0, label="newer", row=1)])
    for fact in ("mini (float32 on cpu)", "mini-heldout", "images 2", "seed 7", "31.00 dB, the mean"):
        assert fact in page.words
    assert "renoise 0.0.9, renoise 0.1.0, torch 2.13.0" in page.words


def test_the_table_says_what_is_not_available(make_row: MakeRow, make_failure: Make, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", [*make_row(30.0, 31.0), make_failure(label="broken", row=1)])
    row = re.search(r'<th scope="row">broken</th>(.*?)</tr>', page.text)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[1])
    assert cells[:6] == ["n/a", "n/a", "n/a", "n/a", "100.0%", "n/a"]
    assert "30.50" in page.words


def test_several_seeds(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", [*make_row(30.0, 31.0, seed=5), *make_row(20.0, 32.0, seed=6)])
    assert "seeds 5, 6" in page.words
    assert "over all images with each of the 2 seeds" in page.words
    assert "The first 2 of 2 images with the seed 5; under each" in page.words
    grid = page.text[page.text.index('<table class="images">') : page.text.index("The worst of each method")]
    assert re.findall(r"(\d\d)\.00 dB</td>", grid)[1::2] == ["30", "31"]
    tail = page.words[page.words.index("The worst of each method") :]
    assert "00.png, seed 6 20.00 dB" in tail


def test_a_run_with_details_says_what_they_are(make_run: MakeRun, tmp_path: Path) -> None:
    page = written(tmp_path, "frontier", make_run("frontier", images=1))
    assert "z_T is the noise that an inversion ends in." in page.words
    assert "KL of z_T to N(0, 1) \N{DOWNWARDS ARROW}" in page.words


def test_markup_in_names_stays_text(make_row: MakeRow, tmp_path: Path) -> None:
    label = '<script>alert("$title")</script> & co'
    measured = [replace(m, image='"><b>.png') for m in make_row(30.0, label=label, model="<i>mini", data="a & b")]
    keep_image(tmp_path, measured[0], "picture")
    page = written(tmp_path, "table2", measured)
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert label in page.words
    assert '"><b>.png, the image' in [image["alt"] for image in page.all("img")]


def test_markup_in_edits_stays_text(make_measurement: Make, make_failure: Make, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>{{ 7 * 7 }}"
    told = {"label": f"{hostile} method", "target": f"{hostile} target", "edit_type": f"{hostile} type"}
    measured = [
        make_measurement(image="a.png", prompt=f"{hostile} prompt", clip_whole=20.0, **told),
        make_failure(image="b.png", error=f"{hostile} error", **told),
    ]
    keep_image(tmp_path, measured[0], "drawn")
    page = written(tmp_path, f"{hostile} run", measured)
    assert page.all("script") == []
    for place in ("method", "target", "type", "prompt", "error", "run"):
        assert f"{hostile} {place}" in page.words
    assert f"a.png, edited to show {hostile} target by: {hostile} method" in [i["alt"] for i in page.all("img")]


def test_a_heading_says_whether_more_or_less_is_better(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", make_row(30.0, 31.0))
    assert "PSNR, mean (dB) \N{UPWARDS ARROW}" in page.words
    assert "failed \N{DOWNWARDS ARROW}" in page.words
    assert "inversion steps denoising" in page.words


def test_images_are_embedded_and_those_missing_are_said_to_be(make_row: MakeRow, tmp_path: Path) -> None:
    measured = [*make_row(30.0, 31.0), *make_row(32.0, 33.0, label="other", row=1)]
    keep_image(tmp_path, measured[0], "picture")
    keep_image(tmp_path, measured[0], "round-trip")
    keep_image(tmp_path, measured[0], "drawn")
    keep_image(tmp_path, measured[1], "picture")
    keep_image(tmp_path, measured[2], "drawn").write_bytes(b"no image at all")
    page = written(tmp_path, "table2", measured)
    alts = [image["alt"] for image in page.all("img")]
    assert alts.count("00.png, the image") == 3  # in the grid, and in the tail of both methods
    assert alts.count("00.png, the autoencoder's round trip") == 1
    assert alts.count("00.png, reconstructed by: sampler reversing") == 2
    # Of 01.png the round trip, and twice each: the damaged one, and both methods' reconstructions of 01.png.
    assert page.words.count("no image") == 1 + 2 * 3


def test_a_image_is_found_under_the_name_that_it_had(make_row: MakeRow, tmp_path: Path) -> None:
    measured = make_row(30.0)
    for kind in ("picture", "round-trip", "drawn"):
        keep_image(tmp_path, replace(measured[0], image="old/name.png"), kind)
    page = written(tmp_path, "table2", measured)
    assert "no image" not in page.words


def test_a_image_that_could_not_be_read_for_one_method_is_shown(make_failure: Make, tmp_path: Path) -> None:
    first = make_failure(label="a", image="00.png", image_hash="x")
    unread = replace(first, image_hash="", key="y", label="b", row=1)
    keep_image(tmp_path, first, "picture")
    page = written(tmp_path, "table2", [unread, first])
    assert "00.png, the image" in [image["alt"] for image in page.all("img")]


def test_embedded_images_are_small(make_row: MakeRow, tmp_path: Path) -> None:
    measured = make_row(30.0)
    keep_image(tmp_path, measured[0], "picture", size=(1024, 768))
    page = written(tmp_path, "table2", measured)
    source = next(str(i["src"]) for i in page.all("img") if i["alt"] == "00.png, the image")
    with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as picture:
        assert picture.size == (192, 144)


def test_the_grid_shows_the_first_eight_images(make_row: MakeRow, tmp_path: Path) -> None:
    page = written(tmp_path, "table2", make_row(*(30.0 + i for i in range(12))))
    grid = page.text[page.text.index('<table class="images">') : page.text.index("The worst of each method")]
    assert re.findall(r"(\d\d)\.png</th>", grid) == [f"{i:02d}" for i in range(8)]
    assert "The first 8 of 12 images;" in page.words
    assert "37.00 dB" in grid


def test_a_grid_with_a_failure_and_a_image_not_measured(make_row: MakeRow, make_failure: Make, tmp_path: Path) -> None:
    # What an earlier measurement left is not shown as if the method had not failed.
    failed = make_failure(label="b", row=1, image="00.png")
    keep_image(tmp_path, failed, "drawn")
    page = written(tmp_path, "table2", [*make_row(30.0, 31.0), failed])
    assert "not measured" in page.words
    assert not [image for image in page.all("img") if image["alt"] == "00.png, reconstructed by: b"]


def test_the_grid_of_figure8_is_a_choice(make_run: MakeRun, tmp_path: Path) -> None:
    measured = make_run("figure8", images=1)
    page = written(tmp_path, "figure8", measured)
    grid = page.text[page.text.index('<table class="images">') : page.text.index("The worst of each method")]
    headings = re.findall(r'<th scope="col">(.*?)</th>', grid)[2:]
    expected = [f"{s}, {what}" for s in SAMPLERS for what in ("reversing, 4 steps", "renoising, K = 9")]
    assert headings == expected
    methods = len({m.label for m in measured})
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
    failed = [make_failure(image=f"{i}.png", error="NaN in step <3>") for i in (7, 8)]
    page = written(tmp_path, "table2", [*make_row(30.0), *failed, make_failure(image="9.png", error="too large")])
    assert "2 of 4 without a reconstruction : NaN in step <3> 7.png, 8.png" in page.words
    assert "1 of 4 without a reconstruction : too large 9.png" in page.words


@pytest.mark.parametrize("run", slow_but(["table1", "figure7", "editing"], RUNS))
def test_a_run_in_which_everything_failed(run: str, make_run: MakeRun, make_failure: Make, tmp_path: Path) -> None:
    names = ("row", "label", "settings", "image")
    failed = [make_failure(**{n: getattr(m, n) for n in names}) for m in make_run(run, images=2)]
    page = written(tmp_path, run, failed)
    assert "2 of 2 without a reconstruction" in page.words
    assert "median n/a" in page.words
