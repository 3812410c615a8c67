"""Runs that edit: what they measure, that they go on where they stopped, and their records."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising, images
from renoise.evaluation import data, outputs, runner, runs
from renoise.evaluation.folder import image_path
from renoise.evaluation.judges import Judges
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.methods import Drawn, Noised, ReNoise
from renoise.evaluation.outside import NegativePrompt
from renoise.evaluation.results import Results
from renoise.evaluation.runner import Task, measure, recompute
from renoise.quality import psnr

PLAIN = InversionConfig(num_steps=2, renoising=Renoising(0))
SHORT = (
    runs.Row("reversing", ReNoise(PLAIN), guidance=1.5),
    runs.Row("renoising", ReNoise(replace(PLAIN, renoising=Renoising(2)))),
    runs.Row("negative prompt", NegativePrompt(PLAIN, 3.0)),
)
NUMBERS = ("structure_distance", "clip_whole", "clip_edited")
BACKGROUND = ("mse_background", "psnr_background", "ssim_background")


@pytest.fixture
def pie_bench(tmp_path: Path) -> Path:
    """Three images in PIE-Bench's form: one may change above, one nowhere, one everywhere."""
    folder = tmp_path / "pie"
    (folder / "annotation_images").mkdir(parents=True)
    mapping = {}
    for i, (name, target, kind, runs_of_mask) in enumerate(
        [("cat", "dog", 1, [0, 512 * 256]), ("tree", "house", 1, []), ("lion", "drawing", 9, [0, 512 * 512])]
    ):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((512, 512), Image.Resampling.BICUBIC)
        picture.save(folder / "annotation_images" / f"{name}.jpg")
        mapping[f"{i:03d}"] = {
            "image_path": f"{name}.jpg",
            "original_prompt": f"a [{name}]",
            "editing_prompt": f"a [{target}]",
            "editing_type_id": str(kind),
            "mask": runs_of_mask,
        }
    (folder / "mapping_file.json").write_text(json.dumps(mapping))
    return folder


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Three images with captions: with two edits, with none, and with one that is there twice."""
    folder = tmp_path / "captions"
    folder.mkdir()
    edits = {"cat.png": ["a dog", "a lion"], "sky.png": [], "tree.png": ["a house", "a house"]}
    for i, name in enumerate(edits):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(folder / name)
    lines = [json.dumps({"file": name, "caption": f"a {name[:-4]}", "edits": own}) for name, own in edits.items()]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"editing": runs.Run("short edits", lambda preset: SHORT, edits=True)}
    monkeypatch.setattr(runs, "RUNS", short)


@pytest.fixture
def task(editor: Editor, captions: Path, tmp_path: Path) -> Task:
    return Task("editing", editor, str(captions), tmp_path / "out", batch=2)


@pytest.fixture
def judged(editor: Editor, pie_bench: Path, tmp_path: Path, clip_folder: Path, dino_folder: Path) -> Task:
    judges = Judges.load(clip_folder, dino_folder, "cpu")
    return Task("editing", editor, str(pie_bench), tmp_path / "out", batch=2, judges=judges)


def test_every_target_of_every_image_is_drawn(task: Task) -> None:
    seen: list[runner.Advance] = []
    found = measure(task, seen.append)
    edits = [("cat.png", "a dog"), ("cat.png", "a lion"), ("tree.png", "a house")]
    assert [(m.label, m.image, m.target) for m in found] == [(row.label, *edit) for row in SHORT for edit in edits]
    assert [m.passes_inversion for m in found] == [2] * 3 + [6] * 3 + [2] * 3
    # Guided, unguided, and guided by the method's own scale.
    assert [m.passes_denoising for m in found] == [4] * 3 + [2] * 3 + [4] * 3
    assert [m.guidance for m in found] == [1.5] * 3 + [None] * 6
    assert (seen[-1].done, seen[-1].total) == (9, 9)
    for m in found:
        assert m.error is None
        assert m.edit_type is None
        assert m.prompt == f"a {m.image[:-4]}"
        assert {getattr(m, name) for name in (*NUMBERS, *BACKGROUND, "background")} == {None}
        assert image_path(Path(task.folder), m).is_file()
        assert image_path(Path(task.folder), m, "picture").is_file()
        assert image_path(Path(task.folder), m, "round-trip").is_file()
    # Nine edits, and two images with their round trips.
    assert len(list((Path(task.folder) / "pictures").iterdir())) == 9 + 2 * 2


def test_what_is_measured_is_the_edit(task: Task, editor: Editor, captions: Path) -> None:
    found = {(m.label, m.target): m for m in measure(task)}
    inversion = editor.invert(captions / "cat.png", "a cat", config=PLAIN)
    edit = editor.edit(inversion, "a lion", guidance_scale=1.5, output_type="pt")
    truth = images.to_tensor([editor.fit(captions / "cat.png")])
    m = found["reversing", "a lion"]
    assert m.l2 == pytest.approx(float((edit - truth).square().mean()), rel=1e-3)
    assert m.psnr == pytest.approx(float(psnr(edit, truth)), abs=1e-2)
    assert m.psnr != found["reversing", "a dog"].psnr


def test_a_image_is_inverted_once_for_all_its_targets(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    inverted = remembered(monkeypatch)
    measure(task)
    assert inverted == [["a tree"], ["a cat"]] * 2


def remembered(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Remembers the prompts of every inversion by `ReNoise`."""
    calls: list[list[str]] = []
    real = ReNoise.invert

    def invert(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        calls.append(list(prompts))
        return real(self, editor, z_0, prompts)

    monkeypatch.setattr(ReNoise, "invert", invert)
    return calls


def test_masks_and_judges(judged: Task, editor: Editor, pie_bench: Path) -> None:
    found = [m for m in measure(judged) if m.label == "reversing"]
    half, nowhere, everywhere = found
    assert [m.edit_type for m in found] == ["change object", "change object", "change style"]
    # Of 64 rows and columns the outermost are never background.
    assert half.background == pytest.approx(0.5, abs=0.03)
    assert nowhere.background == pytest.approx(1.0, abs=0.07)
    assert everywhere.background == 0.0
    assert [getattr(everywhere, name) for name in BACKGROUND] == [None] * 3
    # In so small an image nothing is left of the border, which is all of that mask.
    assert [m.clip_edited is None for m in found] == [False, True, False]
    for m in found:
        assert m.clip_whole is not None
        assert m.structure_distance is not None
        assert m.versions["clip"].startswith("ViT 2x16/8 ")
    example = data.load(pie_bench)[0]
    inversion = editor.invert(example.image, "a cat", config=PLAIN)
    edit = editor.edit(inversion, "a dog", guidance_scale=1.5, output_type="pt")
    truth = images.to_tensor([editor.fit(example.image)])
    below = (edit - truth).square()[:, :, 32:-1, 1:-1].mean()
    assert half.mse_background == pytest.approx(float(below), rel=0.1)
    assert half.psnr_background == pytest.approx(-10.0 * math.log10(half.mse_background or 1.0), abs=1e-3)
    dino = judged.judges.dino
    assert dino is not None
    distance = (dino.self_similarity(edit) - dino.self_similarity(truth)).square().mean()
    assert half.structure_distance == pytest.approx(float(distance), rel=1e-2)


@pytest.fixture
def true_results(editor: Editor, tmp_path: Path) -> Task:
    """Two rows on the second and the third image of the bundled data set with true results."""
    pytest.importorskip("renoise_mini")
    rows = (SHORT[1], runs.Row("nothing", Nothing(PLAIN)))
    return Task("mine", editor, "mini-edits", tmp_path / "out", 2, batch=2, rows=rows, edits=True, skip=1)


@dataclass(frozen=True)
class Nothing(ReNoise):
    """A method whose edits are the image itself, encoded and decoded."""

    kind = "nothing"

    def invert(self, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Noised:
        pixels = editor.decode(z_0, "pt").cpu()
        return Noised(z_0, 1, lambda targets, scale: Drawn(pixels, 1))


def test_edits_are_measured_against_their_true_results(true_results: Task, editor: Editor) -> None:
    found = measure(true_results)
    assert [m.index for m in found] == [1, 1, 1, 2, 2, 2] * 2
    assert [m.edit_type for m in found] == ["concept", "background", "style"] * 4
    for m in found:
        assert m.error is None
        assert m.changed in (0.0, 1.0)
        assert m.psnr_target is not None
        assert m.psnr_background is not None
        assert m.background is not None
        assert 0.05 < m.background < 0.95
    truth = data.load("mini-edits", limit=2)[1]
    for m, target in zip(found[:3], truth.targets, strict=True):
        picture = images.to_tensor([editor.fit(truth.truths[target].result())])
        before = images.to_tensor([editor.fit(truth.load())])
        assert m.psnr_target_unedited == pytest.approx(float(psnr(before, picture)), abs=1e-3)
        mask = ((picture - before).abs() > 8 / 255).any(dim=1)
        assert m.background == pytest.approx(1 - float(mask.float().mean()), abs=1e-4)


def test_the_image_itself_has_not_changed_as_asked(true_results: Task) -> None:
    found = [m for m in measure(true_results) if m.label == "nothing"]
    assert {m.changed for m in found} == {0.0}
    assert all(m.psnr == m.psnr_roundtrip or (m.psnr_roundtrip or 0.0) > 100.0 for m in found)


def test_a_record_with_a_true_result_is_enough_to_measure_again(true_results: Task, editor: Editor) -> None:
    m = measure(true_results)[1]
    again = recompute(Measurement.from_line(m.as_line()), editor)
    for name in ("changed", "kept", "psnr_target_unedited", "background", "edit_type", "key"):
        assert getattr(again, name) == getattr(m, name)
    assert again.psnr_target == pytest.approx(m.psnr_target, abs=1e-2)


def test_the_same_edits_without_their_true_results_are_others(true_results: Task) -> None:
    keys = {m.key for m in measure(true_results)}
    without = measure(replace(true_results, source="mini-heldout"))
    assert not {m.key for m in without} & keys
    assert {m.psnr_target for m in without} == {None}
    assert [m.target for m in without] == [m.target for m in measure(true_results)]


def test_what_was_measured_is_not_measured_again(task: Task, captions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(task)
    inverted = remembered(monkeypatch)
    assert measure(task) == first
    assert inverted == []
    more = (captions / "captions.jsonl").read_text().replace('"a lion"]', '"a lion", "a fish"]')
    (captions / "captions.jsonl").write_text(more)
    second = measure(task)
    assert inverted == [["a cat"]] * 2
    assert [m for m in second if m.target != "a fish"] == first
    assert [m.image for m in second if m.target == "a fish"] == ["cat.png"] * 3


def test_an_interrupted_run_keeps_what_it_has(task: Task) -> None:
    def stop(progress: runner.Advance) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(task, stop)
    assert len(Results(Path(task.folder) / "results.jsonl").all()) == 6
    assert len(measure(task)) == 9


def test_other_judges_measure_anew(judged: Task) -> None:
    first = {m.key for m in measure(judged)}
    assert {m.key for m in measure(judged)} == first
    for judges in (Judges(), Judges(judged.judges.clip), Judges(dino=judged.judges.dino)):
        found = measure(replace(judged, judges=judges))
        assert not {m.key for m in found} & first
        assert all((m.clip_whole is None) == (judges.clip is None) for m in found)
        assert all((m.structure_distance is None) == (judges.dino is None) for m in found)


def test_a_record_is_enough_to_measure_again(judged: Task, editor: Editor) -> None:
    for m in measure(judged):
        again = recompute(Measurement.from_line(m.as_line()), editor, judged.judges)
        for name in ("psnr", "ssim", *NUMBERS, *BACKGROUND):
            before, after = getattr(m, name), getattr(again, name)
            assert (before is None) == (after is None)
            assert after is None or after == pytest.approx(before, rel=1e-2, abs=1e-4)
        for name in ("key", "label", "settings", "target", "edit_type", "guidance", "background", "passes_denoising"):
            assert getattr(again, name) == getattr(m, name)
    assert recompute(m, editor).clip_whole is None


def test_a_image_or_a_target_that_fails_does_not_spoil_the_others(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Editor.edit

    def failing(self: Editor, inversion: Any, prompt: Any, **options: Any) -> Any:
        if "a lion" in prompt:
            raise NumericalError("NaN in the latent; use more steps")
        return real(self, inversion, prompt, **options)

    monkeypatch.setattr(Editor, "edit", failing)
    found = measure(task)
    assert {(m.image, m.target) for m in found if m.error} == {("cat.png", "a lion")}
    assert all(m.psnr is None and m.guidance == SHORT[m.row].guidance for m in found if m.error)
    assert all(m.psnr is not None for m in found if not m.error)
    summary = outputs.write(task.folder, "editing", found)
    assert [line["failures"] for line in summary.lines] == pytest.approx([1 / 3] * 3)
    report = (Path(task.folder) / "report.html").read_text()
    assert "1 of 3 without an image" in report
    assert "cat.png (a lion)" in report


def test_data_without_edits_is_refused(task: Task, captions: Path) -> None:
    (captions / "captions.jsonl").write_text('{"file": "cat.png", "caption": "a cat"}')
    with pytest.raises(ConfigError, match=r"none of the 1 images of .* comes with a prompt to edit it with"):
        measure(task)


def test_a_mask_that_does_not_fit_is_the_failure_of_its_image(judged: Task, pie_bench: Path) -> None:
    path = pie_bench / "annotation_images" / "cat.jpg"
    whole = path.read_bytes()
    Image.new("RGB", (512, 400)).save(path)
    found = measure(judged)
    failures = [m for m in found if m.error is not None]
    assert len(failures) == len(SHORT) < len(found)
    assert all("does not fit its image of 512 x 400" in (m.error or "") for m in failures)
    # It is tried again, and measured once it fits.
    assert measure(judged) == found
    path.write_bytes(whole)
    assert [m for m in measure(judged) if m.error] == []


def test_a_changed_mask_is_measured_anew(judged: Task, pie_bench: Path) -> None:
    first = {m.key for m in measure(judged)}
    mapping = (pie_bench / "mapping_file.json").read_text()
    (pie_bench / "mapping_file.json").write_text(mapping.replace(f"[0, {512 * 256}]", f"[0, {512 * 128}]"))
    changed = [m for m in measure(judged) if m.key not in first]
    assert [m.target for m in changed] == ["a dog"] * len(SHORT)


def test_a_record_is_not_measured_again_with_other_judges_or_another_mask(
    judged: Task, editor: Editor, pie_bench: Path
) -> None:
    m = measure(judged)[0]
    with pytest.raises(ConfigError, match="the judges of edits"):
        recompute(m, editor, Judges(judged.judges.clip))
    mapping = (pie_bench / "mapping_file.json").read_text()
    (pie_bench / "mapping_file.json").write_text(mapping.replace(f"[0, {512 * 256}]", f"[0, {512 * 128}]"))
    with pytest.raises(ConfigError, match="the image '000' or its mask"):
        recompute(m, editor, judged.judges)


def test_a_image_that_cannot_be_read_fails_with_each_of_its_targets(task: Task, captions: Path) -> None:
    (captions / "cat.png").write_bytes(b"no image")
    found = measure(task)
    assert [(m.image, m.target) for m in found if m.error] == [("cat.png", "a dog"), ("cat.png", "a lion")] * 3
    assert len(found) == 9


def test_the_folder(judged: Task) -> None:
    summary = outputs.write(judged.folder, "editing", measure(judged))
    assert summary.edits
    assert {p.name for p in Path(judged.folder).iterdir()} == {
        "pictures",
        "report.html",
        "results.jsonl",
        "summary.csv",
        "summary.md",
    }
    report = (Path(judged.folder) / "report.html").read_text()
    for words in ("editing: short edits", "Numbers for each type of edit", "3 by each method", "a dog", "change style"):
        assert words in report
    # Three images, and three edits of each by three methods.
    assert report.count("data:image/jpeg;base64,") == 3 + 9
    assert "no image" not in report
    assert "http" not in report
