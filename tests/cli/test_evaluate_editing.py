"""`renoise evaluate editing`: what it writes and says, and what it refuses before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import InversionConfig, Renoising, presets
from renoise import __version__ as renoise_version
from renoise.evaluation import data, runs
from renoise.evaluation.methods import ReNoise

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
RUNS = ("table1", "table2", "figure7", "figure8", "frontier", "empty-prompt")


@pytest.fixture
def pictures(folder: Path, picture: Image.Image) -> str:
    """A data set of two images, one of which has two edits."""
    (folder / "set").mkdir()
    lines = []
    for name, edits in (("cat.png", ["a dog", "a lion"]), ("tree.png", [])):
        picture.save(folder / "set" / name)
        lines.append(json.dumps({"file": name, "caption": f"a {name[:-4]}", "edits": edits}))
    (folder / "set" / "captions.jsonl").write_text("\n".join(lines))
    return "set"


@pytest.fixture
def editing(renoise: Renoise, monkeypatch: pytest.MonkeyPatch) -> Renoise:
    """The run on the tiny pipeline with a preset of two steps."""
    short = replace(presets["sd"], num_steps=2, renoising=Renoising(1), renoising_low_noise=None)
    monkeypatch.setattr(InversionConfig, "for_pipeline", classmethod(lambda cls, pipe, variant="paper": short))

    def call(*arguments: str | Path) -> Any:
        return renoise("evaluate", "editing", "--model", TINY, "--device", "cpu", *arguments)

    return call


def test_the_run(editing: Renoise, pictures: str, folder: Path, clip_folder: Path, dino_folder: Path) -> None:
    judges = ("--clip", clip_folder, "--dino", dino_folder)
    done = editing("--data", pictures, "--out", "results", *judges)
    assert done.code == 0
    assert "renoise: measuring: 100% (24/24)" in done.err.splitlines()
    assert done.out.startswith("2 edits of 1 images; 1 without edits left out\n\n| method ")
    assert done.out.endswith("\nwrote results\n")
    names = {path.name for path in (folder / "results").iterdir()}
    assert names == {"pictures", "report.html", "results.jsonl", "summary.csv", "summary.md"}
    document = editing("--data", pictures, "--out", "results", *judges, "--json").json
    assert (document["version"], document["model"], document["data"]) == (renoise_version, str(TINY), pictures)
    assert (document["seed"], document["run"], document["folder"]) == (0, "editing", "results")
    assert (document["skipped"], document["kinds"], len(document["summary"])) == (1, {}, 12)
    for line in document["summary"]:
        assert (line["pictures"], line["edits"], line["failures"]) == (1, 2, 0.0)
        assert line["structure_distance_mean"] > 0.0
        assert -100.0 <= line["clip_whole_mean"] <= 100.0
        assert (line["clip_edited_mean"], line["psnr_background_mean"]) == (None, None)
    assert len((folder / "results" / "results.jsonl").read_text().splitlines()) == 24


def test_the_run_without_judges(editing: Renoise, pictures: str) -> None:
    done = editing("--data", pictures, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert {line["clip_whole_mean"] for line in done.json["summary"]} == {None}
    assert {line["structure_distance_mean"] for line in done.json["summary"]} == {None}


def test_edits_with_their_true_results(editing: Renoise, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("renoise_mini")
    row = runs.Row("reversing", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(0))))
    monkeypatch.setattr(runs, "RUNS", {"editing": runs.Run("short", lambda presets: (row,), edits=True)})
    done = editing("--data", "mini-edits", "--skip", "1", "--limit", "1", "--out", "results", "--json")
    assert list(done.json["kinds"]) == ["concept", "background", "style"]
    for kind, (line,) in done.json["kinds"].items():
        assert (line["edits"], line["changed"] in (0.0, 1.0)) == (1, True)
        assert (line["kept"] is None) == (kind == "background")
        assert line["psnr_target_mean"] > 0.0
        assert line["psnr_background_mean"] > 0.0
    images = {json.loads(line)["picture"] for line in (folder / "results" / "results.jsonl").read_text().splitlines()}
    assert images == {data.load("mini-edits", limit=2)[1].name}
    assert {path.name for path in (folder / "results" / "plots").iterdir()} == {
        f"{name}.{form}" for name in ("edits", "edits-by-type") for form in ("png", "svg")
    }
    header = (folder / "results" / "summary.csv").read_text().splitlines()[0].split(",")
    assert {"changed", "kept", "psnr_target_mean", "psnr_target_unedited_mean"} <= set(header)
    report = (folder / "results" / "report.html").read_text()
    for words in ("The true result of each edit is known", "changed as asked", "true result"):
        assert words in report


@pytest.mark.usefixtures("no_model")
def test_more_images_left_out_than_there_are(editing: Renoise, pictures: str, files: Files) -> None:
    before = files()
    done = editing("--data", pictures, "--skip", "2")
    assert done.code == 1
    assert "none is left of the first 2 images of set without 2 of them; skip fewer of them" in done.error
    assert files() == before


@pytest.mark.usefixtures("no_model")
def test_folders_that_hold_no_judge(editing: Renoise, pictures: str, files: Files, clip_folder: Path) -> None:
    before = files()
    for option, path, words in (
        ("--clip", "no", "no is no CLIP model: it has no readable config.json"),
        ("--clip", pictures, "get one with: hf download openai/clip-vit-large-patch14"),
        ("--dino", clip_folder, "it holds a model of type 'clip', not 'vit'"),
        ("--dino", "facebook/dino-vitb8", "get one with: hf download facebook/dino-vitb8 --local-dir dino-vitb8"),
    ):
        done = editing("--data", pictures, option, path)
        assert done.code == 1
        assert words in done.error
    assert files() == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("option", ["--clip", "--dino"])
@pytest.mark.parametrize("run", RUNS)
def test_other_runs_take_no_judges(renoise: Renoise, run: str, option: str, files: Files) -> None:
    before = files()
    done = renoise("evaluate", run, option, "somewhere")
    assert done.code == 2
    assert done.error == (f"--clip and --dino judge edits, which {run} does not draw; leave them out or run editing")
    assert files() == before


@pytest.mark.usefixtures("no_model")
def test_data_without_edits(editing: Renoise, pictures: str, folder: Path, files: Files) -> None:
    (folder / pictures / "captions.jsonl").write_text('{"file": "cat.png", "caption": "a cat"}')
    before = files()
    done = editing("--data", pictures)
    assert done.code == 1
    assert "none of the 1 images of set comes with a prompt to edit it with; give mini-edits" in done.error
    assert files() == before
