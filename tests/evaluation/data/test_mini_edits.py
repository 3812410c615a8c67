"""The bundled data set `mini-edits`: it is whole, and damage to it is refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageStat

from data_sets import refusal
from renoise import ConfigError, ImageError
from renoise.evaluation import data
from renoise.evaluation.data.mini_edits import Drawings, load

renoise_mini = pytest.importorskip("renoise_mini")
HELD_OUT, EDITS = Path(renoise_mini.path("heldout")), Path(renoise_mini.path("edits"))
LINES = [json.loads(line) for line in (EDITS / "edits.jsonl").read_text().splitlines()]
KINDS = ("concept", "background", "style")


@pytest.fixture(scope="module")
def drawings() -> Drawings:
    return Drawings(EDITS)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that tell of the edits, without the sheets."""
    shutil.copytree(EDITS, tmp_path / "edits", ignore=shutil.ignore_patterns("*.webp"))
    return tmp_path / "edits"


def test_every_edit_of_every_image_has_its_true_result() -> None:
    examples = data.load("mini-edits")
    assert examples == data.load("mini-heldout")
    assert 3 * len(examples) == len(LINES)
    for example in examples:
        assert tuple(example.truths) == example.targets
        assert tuple(example.edit_type_of(target) for target in example.targets) == KINDS
        concepts, backgrounds, styles = (len(truth.others) for truth in example.truths.values())
        assert (concepts, backgrounds) == (19, 0)
        assert styles >= 1  # one for each other style that draws it: see below
        for truth in example.truths.values():
            assert (len(truth.borders), len(set(truth.borders))) == (6, 6)
    assert data.load("mini-edits", limit=5) == examples[:5]


def test_an_edit_of_the_style_is_told_from_every_other_style_that_draws_the_concept() -> None:
    sheets = json.loads((EDITS / "drawings.json").read_text())["sheets"]
    for line in LINES[2::3]:
        concept = line["result"].split("/")[0]
        styles = sorted(name.split("/")[1] for name in (line["result"], *line["others"]))
        assert styles == sorted(style for style, concepts in sheets.items() if concept in concepts)


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in EDITS.rglob("*") if path.is_file()) < 5 * 10**6


def test_the_source_is_the_held_out_image(drawings: Drawings) -> None:
    for line in LINES[::3]:
        with Image.open(HELD_OUT / line["file"]) as image:
            assert np.array_equal(np.asarray(image), np.asarray(drawings.image(line["source"]))), line["file"]


def test_every_image_is_there_and_another_than_the_others(drawings: Drawings) -> None:
    found = {name: drawings.image(name) for line in LINES for name in (line["result"], line["source"], *line["others"])}
    assert {(image.size, image.mode) for image in found.values()} == {((128, 128), "RGB")}
    # A drawing that is nearly blank could not be told from its background.
    assert all(max(high - low for low, high in ImageStat.Stat(image).extrema) > 10 for image in found.values())
    shown = {name: image.tobytes() for name, image in found.items()}
    repeated = 0
    for line in LINES:
        others = {shown[name] for name in line["others"] if name != line["source"]}
        assert len({shown[line["result"]], shown[line["source"]]} - others) == 2
        repeated += len(line["others"]) - len({shown[name] for name in line["others"]})
    # Some styles draw two concepts alike (fluent flat's cat face and grinning cat), and chance may choose both.
    assert repeated <= len(LINES) // 100


def test_an_edit_changes_what_its_kind_says() -> None:
    for number, line in enumerate(LINES):
        source, result = line["source"].split("/"), line["result"].split("/")
        differ = [name for name, a, b in zip(("concept", "style", "background"), source, result, strict=True) if a != b]
        assert differ == [line["kind"]] == [KINDS[number % 3]]
        assert (line["source"] in line["others"]) == (line["kind"] != "background")
        assert line["result"] not in line["others"]
        assert f"on a {result[2]} background" in line["prompt"]
        assert f", {result[1]} style, " in line["prompt"]


def test_the_borders_begin_with_that_of_the_result(drawings: Drawings) -> None:
    for line, example in zip(LINES[::3], data.load("mini-edits"), strict=True):
        for target, row in zip(example.targets, (name for name in LINES if name["file"] == line["file"]), strict=True):
            borders = example.truths[target].borders
            assert borders == drawings.borders(row["result"])
            assert borders[0] == drawings.image(row["result"]).getpixel((0, 0))


@pytest.mark.parametrize("name", ["{0}/{1}", "{0}/{1}/red", "{0}/drawn/{2}", "no/{1}/{2}", "a/b/c/d", ""])
def test_pictures_that_are_not_there(drawings: Drawings, name: str) -> None:
    with pytest.raises(ConfigError, match="has no image"):
        drawings.image(name.format(*LINES[0]["source"].split("/")))


def test_sheets_that_are_missing_or_too_small(copy: Path) -> None:
    name = LINES[0]["source"]
    concept, style, _ = name.split("/")
    sheet = f"{style.replace(' ', '-')}.webp"
    with pytest.raises(ImageError, match=re.escape(sheet)):
        Drawings(copy).image(name)
    Image.new("RGBA", (1, 1)).save(copy / "drawings" / sheet)
    with pytest.raises(ConfigError, match=f"has no drawing of {concept}"):
        Drawings(copy).image(name)


def test_damaged_files(copy: Path) -> None:
    edits = (copy / "edits.jsonl").read_text()
    (copy / "edits.jsonl").write_text("\n".join(edits.splitlines()[1:]))
    first = f"has no true result of the edit {LINES[0]['prompt']!r} of {LINES[0]['file']}"
    with pytest.raises(ConfigError, match=re.escape(first)):
        load(HELD_OUT, copy)
    (copy / "edits.jsonl").write_text(edits.replace('"kind"', '"sort"', 1))
    with pytest.raises(ConfigError, match=r"edits\.jsonl, line 1: .*`kind`"):
        load(HELD_OUT, copy)
    (copy / "drawings.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"drawings\.json: .*`side`"):
        load(HELD_OUT, copy)


def test_a_package_without_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def path(name: str) -> Path:
        if name == "edits":
            raise ValueError("No bundled resource is called 'edits'")
        return HELD_OUT

    old = types.ModuleType("renoise_mini")
    monkeypatch.setattr(old, "path", path, raising=False)
    monkeypatch.setitem(sys.modules, "renoise_mini", old)
    assert "pip install -U renoise-mini" in refusal("mini-edits")
    assert len(data.load("mini-heldout", limit=2)) == 2
