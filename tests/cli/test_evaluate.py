"""`renoise evaluate` on reconstructions: what it writes and says, and what it finds out before a model is loaded."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import InversionConfig, Renoising, __version__, presets
from renoise.evaluation import data, runner, runs
from renoise.evaluation.methods import ReNoise

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
PLAIN = InversionConfig(num_steps=2, renoising=Renoising(0))
ROWS = (runs.Row("one", ReNoise(PLAIN)), runs.Row("two", ReNoise(replace(PLAIN, renoising=Renoising(1)))))


@pytest.fixture
def pictures(folder: Path, picture: Image.Image) -> str:
    """A data set of two images."""
    (folder / "set").mkdir()
    picture.save(folder / "set" / "cat.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "set" / "dog.png")
    lines = [json.dumps({"file": f"{name}.png", "caption": f"a {name}"}) for name in ("cat", "dog")]
    (folder / "set" / "captions.jsonl").write_text("\n".join(lines))
    return "set"


@pytest.fixture
def evaluate(renoise: Renoise, monkeypatch: pytest.MonkeyPatch) -> Renoise:
    """A run of two rows on the tiny pipeline."""
    short = {"table2": runs.Run("a short one", lambda preset: ROWS)}
    monkeypatch.setattr(runs, "RUNS", short)
    monkeypatch.setattr(
        InversionConfig, "for_pipeline", classmethod(lambda cls, pipe, variant="paper": replace(presets["sd"]))
    )

    def call(*arguments: str | Path) -> Any:
        return renoise("evaluate", "table2", "--model", TINY, "--device", "cpu", *arguments)

    return call


def test_the_document(evaluate: Renoise, pictures: str) -> None:
    done = evaluate("--data", pictures, "--out", "results", "--json", "--quiet", "--seed", "3")
    assert (done.code, done.err) == (0, "")
    document = done.json
    assert {name: document[name] for name in ("command", "version", "model", "data", "run", "seed", "folder")} == {
        "command": "evaluate",
        "version": __version__,
        "model": str(TINY),
        "data": pictures,
        "run": "table2",
        "seed": 3,
        "folder": "results",
    }
    bounds = [line["psnr_bound_mean"] for line in document["summary"]]
    assert bounds == [pytest.approx(document["psnr_bound_mean"])] * 2
    assert [line["measured"] for line in document["summary"]] == [2, 2]


def test_several_seeds(evaluate: Renoise, pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(presets: runs.Presets) -> tuple[runs.Row, ...]:
        return (runs.Row("one", ReNoise(replace(PLAIN, seed=presets["paper"].seed))),)

    monkeypatch.setattr(runs, "RUNS", {"table2": runs.Run("a short one", rows)})
    done = evaluate("--data", pictures, "--out", "results", "--json", "--quiet", "--seeds", "0, 3")
    assert (done.code, done.err) == (0, "")
    assert (done.json["seed"], done.json["seeds"]) == (None, [0, 3])
    (line,) = done.json["summary"]
    assert (line["pictures"], line["measured"], line["psnr_spread"]) == (2, 4, pytest.approx(0.0, abs=1e-9))
    again = evaluate("--data", pictures, "--out", "results", "--seeds", "3")
    assert again.out.startswith("2 images; ")


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seeds", ""), "'' is not a whole number from 0 to 9223372036854775807"),
        (("--seeds", "0,1.5"), "'1.5' is not a whole number"),
        (("--seeds", "0,-1"), "'-1' is not a whole number"),
        (("--seeds", "0;1"), "'0;1' is not a whole number"),
        (("--seeds", "4,0,4"), "the seed 4 is given more than once"),
        (("--seeds", "0,1", "--seed", "2"), "--seed and --seeds are given; give one of them"),
    ],
)
def test_other_words_are_no_seeds(
    evaluate: Renoise, pictures: str, options: tuple[str, ...], words: str, files: Files
) -> None:
    before = files()
    done = evaluate("--data", pictures, *options)
    assert done.code == 2
    assert words in done.error
    assert files() == before


def test_the_text_and_how_far_it_is(evaluate: Renoise, pictures: str, folder: Path) -> None:
    done = evaluate("--data", pictures, "--out", "results", "--batch", "1")
    assert done.code == 0
    assert done.err.splitlines() == [
        f"renoise: measuring: {percent}% ({n}/4)" for n, percent in enumerate((25, 50, 75, 100), start=1)
    ]
    assert done.out.startswith("2 images; the autoencoder's round trip: ")
    assert done.out.endswith("\nwrote results\n")
    table = (folder / "results" / "summary.md").read_text()
    assert done.out == f"{table}\nwrote results\n"
    rows = list(csv.DictReader((folder / "results" / "summary.csv").read_text().splitlines()))
    assert [row["measured"] for row in rows] == ["2", "2"]


def test_a_picture_that_cannot_be_read_ends_no_run(evaluate: Renoise, pictures: str, folder: Path) -> None:
    (folder / pictures / "cat.png").write_bytes(b"no image")
    done = evaluate("--data", pictures, "--out", "results", "--quiet", "--json")
    assert done.code == 0
    assert [line["measured"] for line in done.json["summary"]] == [1, 1]
    assert all("cat.png is not an image" in line["error"] for line in done.json["summary"])


def test_a_run_without_any_measurement_fails(evaluate: Renoise, pictures: str, folder: Path) -> None:
    for name in ("cat.png", "dog.png"):
        (folder / pictures / name).write_bytes(b"no image")
    done = evaluate("--data", pictures, "--out", "results", "--quiet")
    assert done.code == 1
    assert done.error.startswith("none of the 4 measurements succeeded, first cat.png: ")
    assert done.error.endswith("; see results/report.html")
    assert (folder / "results" / "report.html").is_file()


@pytest.mark.usefixtures("no_model")
def test_what_is_in_the_way_is_found_before_any_work(evaluate: Renoise, pictures: str, folder: Path) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "plots").write_bytes(b"mine")
    done = evaluate("--data", pictures, "--out", "results")
    assert done.code == 1
    assert done.error.startswith("results/plots is no folder")
    assert (folder / "results" / "plots").read_bytes() == b"mine"


def test_the_data_is_loaded_once(evaluate: Renoise, pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    real = data.load

    def load(*args: Any, **options: Any) -> Any:
        loads.append(args)
        return real(*args, **options)

    monkeypatch.setattr(data, "load", load)
    assert evaluate("--data", pictures, "--quiet").code == 0
    assert loads == [(pictures,)]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("out", ["cat.png", "cat.png/results"])
def test_a_folder_that_cannot_be_made(evaluate: Renoise, pictures: str, out: str, files: Files) -> None:
    before = files()
    done = evaluate("--data", pictures, "--out", out)
    assert done.code == 1
    assert done.error.startswith(f"cannot make the folder {out}: ")
    assert files() == before


@pytest.mark.usefixtures("no_model")
def test_a_folder_that_cannot_be_written_to(
    evaluate: Renoise, pictures: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = files()
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    done = evaluate("--data", pictures, "--out", "results")
    assert done.code == 1
    assert done.error == "the folder results cannot be written to: Permission denied; name another"
    assert files() == before


@pytest.mark.usefixtures("no_model")
def test_results_that_are_damaged(evaluate: Renoise, pictures: str, folder: Path) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "results.jsonl").write_text("{}\n")
    done = evaluate("--data", pictures, "--out", "results")
    assert done.code == 1
    assert done.error.startswith("line 1 of results/results.jsonl is no result")


@pytest.mark.parametrize("out", [["--out", "a/b"], []])
def test_a_run_that_fails_leaves_no_empty_folder(
    evaluate: Renoise, pictures: str, out: list[str], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError

    before = files()
    monkeypatch.setattr(runner, "measure", fail)
    assert evaluate("--data", pictures, *out).code == 1
    assert files() == before


@pytest.mark.usefixtures("no_model")
def test_data_that_is_not_there(evaluate: Renoise, files: Files) -> None:
    before = files()
    assert evaluate("--data", "nowhere", "--out", "results").code == 1
    assert files() == before


def test_a_model_of_a_few_steps_is_measured_as_such(
    renoise: Renoise, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows follow from the settings of the model that is named."""
    found: list[InversionConfig] = []

    def rows(presets: runs.Presets) -> tuple[runs.Row, ...]:
        found.append(presets["exact"])
        return (runs.Row("one", ReNoise(replace(presets["edit"], seed=0))),)

    monkeypatch.setattr(runs, "RUNS", {"table2": runs.Run("a short one", rows)})
    model = ("--model", TINY, "--device", "cpu")
    done = renoise("evaluate", "table2", *model, "--data", pictures, "--out", "results", "--preset", "hyper-sd15-2")
    assert done.code == 0, done.err
    assert {config.num_steps for config in found} == {2}
    wrong = renoise("evaluate", "table2", *model, "--data", pictures, "--out", "other", "--preset", "sdxl-lightning-4")
    assert (wrong.code, "is for models of Stable Diffusion XL" in wrong.error) == (1, True)
    assert renoise("evaluate", "table2", *model, "--preset", "exact").code == 2
