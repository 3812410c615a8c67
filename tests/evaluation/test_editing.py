"""The run that edits: its numbers against ones worked out by hand, its folder, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising, images, presets
from renoise.evaluation import data, edit_summary, metrics, outputs, runner, runs
from renoise.evaluation.edit_metrics import (
    edit_numbers,
    fit_mask,
    mse_background,
    psnr_background,
    ssim_background,
)
from renoise.evaluation.edit_summary import EditLine, EditSummary
from renoise.evaluation.judges import Clip, Judges
from renoise.evaluation.measurement import Measurement, Results
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import NegativePrompt
from renoise.evaluation.runner import Task, measure, picture_path, recompute
from renoise.quality import psnr

Make = Callable[..., Measurement]
PLAIN = InversionConfig(num_steps=2, renoising=Renoising(0))
SHORT = (
    runs.Row("reversing", ReNoise(PLAIN), guidance=1.5),
    runs.Row("renoising", ReNoise(replace(PLAIN, renoising=Renoising(2)))),
    runs.Row("negative prompt", NegativePrompt(PLAIN, 3.0)),
)
NUMBERS = ("structure_distance", "clip_whole", "clip_edited")
BACKGROUND = ("mse_background", "psnr_background", "ssim_background")


# Metrics.


@pytest.fixture
def left() -> torch.Tensor:
    """Two masks of 16 x 24 pixels: the left half, and everything."""
    mask = torch.zeros(2, 16, 24, dtype=torch.bool)
    mask[0, :, :12] = True
    mask[1] = True
    return mask


def test_the_background_is_what_lies_outside_the_mask(left: torch.Tensor) -> None:
    picture = torch.full((2, 3, 16, 24), 0.5)
    edit = picture.clone()
    edit[..., :12] += 0.4
    edit[:, 0, :, 12:] += 0.1
    mse = mse_background(edit, picture, left)
    # In one of three channels.
    assert float(mse[0]) == pytest.approx(0.01 / 3, rel=1e-4)
    assert float(psnr_background(edit, picture, left)[0]) == pytest.approx(20.0 + 10.0 * math.log10(3.0), abs=1e-3)


def test_ssim_of_the_background(left: torch.Tensor) -> None:
    # Without any variance it is (2 a b + c) / (a^2 + b^2 + c) with c = 0.01^2.
    picture, edit = torch.full((2, 3, 16, 24), 0.5), torch.full((2, 3, 16, 24), 0.3)
    expected = (2 * 0.5 * 0.3 + 1e-4) / (0.5**2 + 0.3**2 + 1e-4)
    assert float(ssim_background(edit, picture, left)[0]) == pytest.approx(expected, abs=1e-4)
    noise = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    changed = torch.where(left[:, None], noise, picture)
    here, whole = float(ssim_background(changed, picture, left)[0]), float(metrics.ssim(changed, picture)[0])
    # The window of 11 looks five pixels into the mask; the other seven columns are exactly alike.
    assert whole < here < 1.0
    assert here > 7 / 12


def test_a_mask_of_everything_leaves_no_background(left: torch.Tensor) -> None:
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    for metric in (mse_background, psnr_background, ssim_background):
        assert metric(picture * 0.9, picture, left).isnan().tolist() == [False, True]


def test_what_the_mask_hides_has_no_say(left: torch.Tensor) -> None:
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    edit = picture.clone()
    edit[..., :12] = torch.nan
    assert float(mse_background(edit, picture, left)[0]) == 0.0
    assert math.isinf(float(psnr_background(edit, picture, left)[0]))


def test_the_numbers_of_an_edit_without_judges(left: torch.Tensor) -> None:
    picture = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    measured: dict[str, Any] = {"target": "a dog", "structure": None, "judges": Judges()}
    assert edit_numbers(picture, picture, mask=None, **measured) == {}
    assert edit_numbers(picture, picture, mask=left[1], **measured) == {"background": 0.0}
    half = edit_numbers(picture, picture, mask=left[0], **measured)
    assert half["background"] == 0.5
    assert (half["mse_background"], half["psnr_background"]) == (0.0, metrics.HIGHEST_PSNR)
    assert half["ssim_background"] == pytest.approx(1.0)
    assert half["lpips_background"] is None


def test_clip_sees_the_mask_alone(left: torch.Tensor, clip_folder: Path) -> None:
    clip = Clip(clip_folder, "cpu")
    picture = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    found = edit_numbers(picture, picture, "a dog", mask=left[0], structure=None, judges=Judges(clip))
    black = picture.clone()
    black[..., 12:] = 0.0
    assert found["clip_whole"] == pytest.approx(float(clip.similarity(picture, ["a dog"])))
    assert found["clip_edited"] == pytest.approx(float(clip.similarity(black, ["a dog"])))
    assert found["clip_whole"] != found["clip_edited"]
    nothing = edit_numbers(picture, picture, "a dog", mask=~left[1], structure=None, judges=Judges(clip))
    assert "clip_edited" not in nothing
    assert nothing["background"] == 1.0


# Masks.


def test_a_mask_goes_where_its_picture_goes() -> None:
    mask = np.zeros((80, 100), dtype=bool)
    mask[10:40, 30:60] = True
    picture = Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))
    fitted = np.asarray(images.crop_to(picture, (40, 40)))[..., 0] > 127
    found = fit_mask(mask, (80, 100), (40, 40)).numpy()
    assert found.dtype == bool
    assert (found != fitted).mean() < 0.02
    # The centre of 80 x 80 begins at column 10.
    assert np.array_equal(found, mask[::2, 10:90:2]) or np.array_equal(found, mask[1::2, 11:90:2])


def test_a_mask_of_the_models_size_stays_as_it_is() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    assert np.array_equal(fit_mask(mask, (64, 64), (64, 64)).numpy(), mask)


def test_a_mask_may_be_smaller_than_its_picture_but_not_of_other_proportions() -> None:
    mask = np.array([[True, False], [False, False]])
    assert fit_mask(mask, (128, 128), (8, 8)).sum() == 16
    with pytest.raises(ConfigError, match="a mask of 2 x 2 pixels does not fit its image of 128 x 64"):
        fit_mask(mask, (64, 128), (8, 8))


# The run.


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


def test_every_target_of_every_picture_is_drawn(task: Task) -> None:
    seen: list[runner.Advance] = []
    found = measure(task, seen.append)
    edits = [("cat.png", "a dog"), ("cat.png", "a lion"), ("tree.png", "a house")]
    assert [(m.method, m.picture, m.target) for m in found] == [(row.label, *edit) for row in SHORT for edit in edits]
    assert [m.passes_inversion for m in found] == [2] * 3 + [6] * 3 + [2] * 3
    # Guided, unguided, and guided by the method's own scale.
    assert [m.passes_denoising for m in found] == [4] * 3 + [2] * 3 + [4] * 3
    assert [m.guidance for m in found] == [1.5] * 3 + [None] * 6
    assert (seen[-1].done, seen[-1].total) == (9, 9)
    for m in found:
        assert m.error is None
        assert m.kind is None
        assert m.prompt == f"a {m.picture[:-4]}"
        assert {getattr(m, name) for name in (*NUMBERS, *BACKGROUND, "background")} == {None}
        assert picture_path(Path(task.folder), m).is_file()
        assert picture_path(Path(task.folder), m, "picture").is_file()
        assert picture_path(Path(task.folder), m, "round-trip").is_file()
    # Nine edits, and two images with their round trips.
    assert len(list((Path(task.folder) / "pictures").iterdir())) == 9 + 2 * 2


def test_what_is_measured_is_the_edit(task: Task, editor: Editor, captions: Path) -> None:
    found = {(m.method, m.target): m for m in measure(task)}
    inversion = editor.invert(captions / "cat.png", "a cat", config=PLAIN)
    edit = editor.edit(inversion, "a lion", guidance_scale=1.5, output_type="pt")
    truth = images.to_tensor([editor.fit(captions / "cat.png")])
    m = found["reversing", "a lion"]
    assert m.l2 == pytest.approx(float((edit - truth).square().mean()), rel=1e-3)
    assert m.psnr == pytest.approx(float(psnr(edit, truth)), abs=1e-2)
    assert m.psnr != found["reversing", "a dog"].psnr


def test_a_picture_is_inverted_once_for_all_its_targets(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
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
    found = [m for m in measure(judged) if m.method == "reversing"]
    half, nowhere, everywhere = found
    assert [m.kind for m in found] == ["change object", "change object", "change style"]
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
    inversion = editor.invert(example.picture, "a cat", config=PLAIN)
    edit = editor.edit(inversion, "a dog", guidance_scale=1.5, output_type="pt")
    truth = images.to_tensor([editor.fit(example.picture)])
    below = (edit - truth).square()[:, :, 32:-1, 1:-1].mean()
    assert half.mse_background == pytest.approx(float(below), rel=0.1)
    assert half.psnr_background == pytest.approx(-10.0 * math.log10(half.mse_background or 1.0), abs=1e-3)
    dino = judged.judges.dino
    assert dino is not None
    distance = (dino.self_similarity(edit) - dino.self_similarity(truth)).square().mean()
    assert half.structure_distance == pytest.approx(float(distance), rel=1e-2)


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
    assert [m.picture for m in second if m.target == "a fish"] == ["cat.png"] * 3


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
        for name in ("key", "method", "settings", "target", "kind", "guidance", "background", "passes_denoising"):
            assert getattr(again, name) == getattr(m, name)
    assert recompute(m, editor).clip_whole is None


def test_a_picture_or_a_target_that_fails_does_not_spoil_the_others(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Editor.edit

    def failing(self: Editor, inversion: Any, prompt: Any, **options: Any) -> Any:
        if "a lion" in prompt:
            raise NumericalError("NaN in the latent; use more steps")
        return real(self, inversion, prompt, **options)

    monkeypatch.setattr(Editor, "edit", failing)
    found = measure(task)
    assert {(m.picture, m.target) for m in found if m.error} == {("cat.png", "a lion")}
    assert all(m.psnr is None and m.guidance == SHORT[m.row].guidance for m in found if m.error)
    assert all(m.psnr is not None for m in found if not m.error)
    summary = outputs.write(task.folder, "editing", found)
    assert [line.failures for line in summary.lines] == pytest.approx([1 / 3] * 3)
    report = (Path(task.folder) / "report.html").read_text()
    assert "1 of 3 without an image" in report
    assert "cat.png (a lion)" in report


def test_data_without_edits_is_refused(task: Task, captions: Path) -> None:
    (captions / "captions.jsonl").write_text('{"file": "cat.png", "caption": "a cat"}')
    with pytest.raises(ConfigError, match=r"none of the 1 images of .* comes with a prompt to edit it with"):
        measure(task)


def test_a_mask_that_does_not_fit_is_refused(judged: Task, pie_bench: Path) -> None:
    Image.new("RGB", (512, 400)).save(pie_bench / "annotation_images" / "cat.jpg")
    with pytest.raises(ConfigError, match="does not fit its image of 512 x 400"):
        measure(judged)


def test_targets_that_begin_alike_have_pictures_of_their_own(tmp_path: Path, make_measurement: Make) -> None:
    long = "a very long prompt that goes on and on and on, "
    measured = [make_measurement(picture="a/b.png", target=long + end) for end in ("red", "blue", "?*:<>", "")]
    paths = {picture_path(tmp_path, m) for m in (*measured, make_measurement(picture="a/b.png"))}
    assert len(paths) == 5
    assert all(len(path.name) < 80 and path.parent == tmp_path / "pictures" for path in paths)


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


def test_a_picture_that_cannot_be_read_fails_with_each_of_its_targets(task: Task, captions: Path) -> None:
    (captions / "cat.png").write_bytes(b"no image")
    found = measure(task)
    assert [(m.picture, m.target) for m in found if m.error] == [("cat.png", "a dog"), ("cat.png", "a lion")] * 3
    assert len(found) == 9


# The named rows.


@pytest.mark.parametrize("name", presets)
def test_the_rows_of_every_preset(name: str) -> None:
    preset = presets[name]
    rows = runs._editing(preset)
    assert [row.label for row in rows] == [
        "sampler reversing",
        "ReNoise (this model's preset)",
        "ReNoise without edit losses",
        "edit-friendly DDPM inversion",
        "negative-prompt inversion",
        "null-prompt inversion",
    ]
    few = preset.num_steps == 4
    assert [row.guidance for row in rows] == [1.0 if few else 1.5] * 4 + [None] * 2
    assert {row.method.num_denoising_steps for row in rows} == {preset.num_steps}
    own = [row.method.settings()["guidance_scale"] for row in rows[4:]]
    assert own == [1.5 if few else 7.5] * 2
    assert [row.prompt for row in rows] == [None] * 6


# The tables.


def test_the_numbers_of_a_method(make_measurement: Make, make_failure: Make) -> None:
    measured = [
        make_measurement(
            picture="a", target="x", psnr=10.0, background=0.5, psnr_background=20.0, clip_whole=20.0, kind="add object"
        ),
        make_measurement(
            picture="a", target="y", psnr=14.0, background=0.5, psnr_background=30.0, clip_whole=30.0, kind="add object"
        ),
        make_measurement(
            picture="b", target="x", psnr=15.0, background=0.0, structure_distance=0.05, kind="change style"
        ),
        make_failure(picture="c", target="x", kind="change style"),
    ]
    summary = edit_summary.summarise(measured)
    (line,) = summary.lines
    assert (summary.pictures, summary.edits, line.pictures, line.edits) == (3, 4, 3, 4)
    assert (line.psnr_background_mean, line.clip_whole_mean) == (25.0, 25.0)
    assert (line.psnr_to_source_mean, line.structure_distance_mean) == (13.0, 0.05)
    assert (line.no_background, line.failures, line.error) == (1, 0.25, "NaN in the latent (1 of 4)")
    assert (line.ssim_background_mean, line.lpips_background_mean, line.clip_edited_mean) == (None,) * 3
    assert list(summary.kinds) == ["add object", "change style"]
    (style,) = summary.kinds["change style"]
    assert (style.edits, style.no_background, style.failures, style.psnr_background_mean) == (2, 1, 0.5, None)


def test_without_masks_nothing_is_said_of_them(make_measurement: Make) -> None:
    summary = edit_summary.summarise([make_measurement(target="x")])
    assert summary.lines[0].no_background is None
    assert summary.kinds == {}


def test_a_method_without_any_edit_says_why(make_failure: Make) -> None:
    summary = edit_summary.summarise([make_failure(target="x")])
    assert (summary.lines[0].error, summary.lines[0].failures) == ("NaN in the latent (1 of 1)", 1.0)
    assert edit_summary.as_markdown(summary).endswith("\n\nsampler reversing: NaN in the latent (1 of 1)\n")


def test_csv_and_markdown(make_measurement: Make) -> None:
    measured = [
        make_measurement(
            picture=picture, target="x", kind=kind, background=1.0, mse_background=0.01, method=method, row=row
        )
        for picture, kind in (("a", "add object"), ("b", "change style"))
        for row, method in enumerate(("one", "another"))
    ]
    summary = edit_summary.summarise(measured)
    rows = list(csv.DictReader(edit_summary.as_csv(summary).splitlines()))
    assert [row["method"] for row in rows] == ["one", "another"]
    assert list(rows[0]) == [f.name for f in fields(EditLine)]
    assert (rows[0]["mse_background_mean"], rows[0]["clip_whole_mean"], rows[0]["edits"]) == ("0.01", "", "2")
    text = edit_summary.as_markdown(summary)
    assert text.startswith("| method  | num_inversion_steps |")
    assert "0.01000" in text.splitlines()[2]
    assert "n/a" in text.splitlines()[2]
    assert "\nadd object, 1 edits\n\n| method" in text
    assert "\nchange style, 1 edits\n\n| method" in text


# The folder.


def test_the_folder(judged: Task) -> None:
    summary = outputs.write(judged.folder, "editing", measure(judged))
    assert isinstance(summary, EditSummary)
    assert {p.name for p in Path(judged.folder).iterdir()} == {
        "pictures",
        "report.html",
        "results.jsonl",
        "summary.csv",
        "summary.md",
    }
    report = (Path(judged.folder) / "report.html").read_text()
    for words in ("editing: short edits", "Numbers for each kind of edit", "3 by each method", "a dog", "change style"):
        assert words in report
    # Three images, and three edits of each by three methods.
    assert report.count("data:image/jpeg;base64,") == 3 + 9
    assert "no image" not in report
    assert "http" not in report
