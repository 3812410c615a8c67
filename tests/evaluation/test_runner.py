"""Runs: what they measure, that they go on where they stopped, and that a record is enough to measure again."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, ImageError, InversionConfig, NumericalError, Renoising, StorageError, images
from renoise.errors import DrawnNoiseWarning
from renoise.evaluation import data, outputs, runner, runs
from renoise.evaluation.folder import Role, image_path
from renoise.evaluation.keys import keyed
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import DDIMInverse
from renoise.evaluation.results import Results
from renoise.evaluation.runner import Task, measure, recompute
from renoise.schedulers import describe

MakeEditor = Callable[..., Editor]
ROLES: tuple[Role, ...] = ("drawn", "picture", "round-trip")
SHORT = (
    runs.Row("reversing", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(0)))),
    runs.Row("renoising", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3)), keep_residuals=True)),
    runs.Row("no prompt", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3))), ""),
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data set of three images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    for i, (prompt, name) in enumerate([("a cat", "cat.png"), ("a dog", "dog.png"), ("a lion", "lion.png")]):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(folder / name)
        rows.append(json.dumps({"file": name, "caption": prompt}))
    (folder / "captions.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("a short one", lambda preset: SHORT)})


@pytest.fixture
def task(editor: Editor, pictures: Path, tmp_path: Path) -> Task:
    return Task("short", editor, str(pictures), tmp_path / "out", batch=2)


def test_every_row_is_measured_on_every_image(task: Task, tmp_path: Path) -> None:
    seen: list[runner.Advance] = []
    found = measure(task, seen.append)
    assert [(m.label, m.image) for m in found] == [
        (row.label, name) for row in SHORT for name in ("cat.png", "dog.png", "lion.png")
    ]
    assert [m.passes_inversion for m in found] == [2] * 3 + [8] * 6
    assert {m.passes_denoising for m in found} == {2}
    assert (seen[-1].done, seen[-1].total) == (9, 9)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    for i, m in enumerate(found):
        assert m.error is None
        assert m.psnr is not None
        assert m.l2 is not None
        assert m.psnr == pytest.approx(-10 * np.log10(m.l2), abs=1e-3)
        assert (m.lpips, m.ms_ssim) == (None, None)
        assert m.prompt == ("" if m.label == "no prompt" else f"a {m.image.removesuffix('.png')}")
        assert (m.data, m.index) == (str(tmp_path / "pictures"), i % 3)
        assert m.scheduler == describe(task.editor.pipe.scheduler)
        assert (len(m.image_hash), len(m.model_hash)) == (64, 24)
        assert image_path(tmp_path / "out", m).is_file()
        assert image_path(tmp_path / "out", m, "picture").is_file()
        assert image_path(tmp_path / "out", m, "round-trip").is_file()
    # Nine reconstructions, and three images with their round trips.
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 9 + 2 * 3
    renoised = [m for m in found if m.label == "renoising"]
    assert all(m.residual_history is not None and [len(s) for s in m.residual_history] == [4, 4] for m in renoised)
    assert all(len(m.timesteps) == 2 for m in renoised)


def test_what_is_measured_is_a_reconstruction_from_noise(task: Task, editor: Editor, pictures: Path) -> None:
    found = measure(task)[0]
    inversion = editor.invert(
        pictures / "cat.png", "a cat", config=InversionConfig(num_steps=2, renoising=Renoising(0))
    )
    again = editor.reconstruct(inversion, "pt")
    truth = images.to_tensor([editor.fit(pictures / "cat.png")])
    assert found.l2 == pytest.approx(float((again - truth).square().mean()), rel=1e-4)


def test_what_was_measured_is_not_measured_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(replace(task, limit=2))
    calls, encoded = remembered(monkeypatch)
    second = measure(task)
    assert calls == [["a lion"], ["a lion"], [""]]
    # Fitted are all of them, to know what is missing; encoded is only the batch that misses something.
    assert encoded == [1]
    assert [m for m in second if m.image != "lion.png"] == first
    assert measure(task) == second
    assert (len(calls), len(encoded)) == (3, 1)


def remembered(monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[str]], list[int]]:
    """Remembers the prompts of every inversion by `ReNoise`, and how many images are encoded each time."""
    calls: list[list[str]] = []
    encoded: list[int] = []
    invert, encode = ReNoise.invert, Editor.encode

    def inverting(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        calls.append(list(prompts))
        return invert(self, editor, z_0, prompts)

    def encoding(self: Editor, image: Any) -> torch.Tensor:
        encoded.append(len(image))
        return encode(self, image)

    monkeypatch.setattr(ReNoise, "invert", inverting)
    monkeypatch.setattr(Editor, "encode", encoding)
    return calls, encoded


def test_another_name_of_the_data_makes_no_other_row(
    task: Task, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(task)
    calls, encoded = remembered(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert measure(replace(task, source="pictures")) == first
    assert measure(replace(task, source=Path("pictures"))) == first
    # The folder moves, and an image gets another name.
    pictures.rename(tmp_path / "moved")
    (tmp_path / "moved" / "cat.png").rename(tmp_path / "moved" / "tiger.png")
    captions = (tmp_path / "moved" / "captions.jsonl").read_text().replace("cat.png", "tiger.png")
    (tmp_path / "moved" / "captions.jsonl").write_text(captions)
    moved = measure(replace(task, source="moved"))
    assert [m.key for m in moved] == [m.key for m in first]
    assert {m.data for m in moved} == {str(tmp_path / "moved")}
    assert [m.image for m in moved[:3]] == ["tiger.png", "dog.png", "lion.png"]
    assert (calls, encoded) == ([], [])
    assert len(Results(tmp_path / "out" / "results.jsonl").all()) == 9


def test_changed_pixels_are_measured_anew(
    task: Task, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(task)
    calls, _ = remembered(monkeypatch)
    with Image.open(pictures / "dog.png") as picture:
        changed = picture.convert("RGB")
    changed.putpixel((5, 5), (255, 0, 255))
    changed.save(pictures / "dog.png")
    second = measure(task)
    assert calls == [["a dog"], ["a dog"], [""]]
    assert [m for m in second if m.image != "dog.png"] == [m for m in first if m.image != "dog.png"]
    # Of both versions of the image everything is kept.
    assert all(image_path(tmp_path / "out", m, kind).is_file() for m in (*first, *second) for kind in ROLES)
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 12 + 2 * 4


def test_another_sampler_of_the_model_is_measured_anew(
    task: Task, make_editor: MakeEditor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(replace(task, limit=1))
    for changes in ({"scheduler": "EulerDiscreteScheduler"}, {"scheduler": "DDIMScheduler", "set_alpha_to_one": True}):
        second = measure(replace(task, limit=1, editor=make_editor(**changes)))
        assert not {m.key for m in second} & {m.key for m in first}
        assert [m.scheduler["class"] for m in second] == [changes["scheduler"]] * 3
        assert not {image_path(tmp_path, m) for m in first} & {image_path(tmp_path, m) for m in second}


def test_equal_images_with_equal_prompts_are_one_measurement(task: Task, pictures: Path) -> None:
    (pictures / "copy.png").write_bytes((pictures / "cat.png").read_bytes())
    with (pictures / "captions.jsonl").open("a") as file:
        file.write('\n{"file": "copy.png", "caption": "a cat"}')
    found = measure(task)
    assert [m.image for m in found[:4]] == ["cat.png", "dog.png", "lion.png", "copy.png"]
    assert found[0].psnr == found[3].psnr
    assert len(Results(Path(task.folder) / "results.jsonl").all()) == 9
    assert measure(task) == found


def test_a_row_that_moved_is_given_with_its_present_place(task: Task) -> None:
    first = {m.key: m for m in measure(replace(task, rows=SHORT))}
    found = measure(replace(task, rows=SHORT[::-1]))
    assert [m.label for m in found[::3]] == [row.label for row in SHORT[::-1]]
    assert [m.row for m in found] == [0] * 3 + [1] * 3 + [2] * 3
    assert all(replace(m, row=first[m.key].row) == first[m.key] for m in found)


def test_old_lines_stay_as_they_are_and_are_measured_anew(task: Task) -> None:
    found = measure(replace(task, limit=1))
    path = Path(task.folder) / "results.jsonl"
    old = [json.loads(line) | {"key": f"old {i}"} for i, line in enumerate(path.read_text().splitlines())]
    for record in old:
        for name in ("index", "model_hash", "scheduler", "picture_hash"):
            del record[name]
    path.write_text("".join(json.dumps(record) + "\n" for record in old))
    again = measure(replace(task, limit=1))
    assert [m.key for m in again] == [m.key for m in found]
    everything = Results(path).all()
    assert len(everything) == 6
    assert (everything[0].image_hash, everything[0].scheduler, everything[0].index) == ("", {}, None)
    with pytest.raises(ConfigError, match="does not tell which image and sampler"):
        recompute(everything[0], task.editor)


def test_an_interrupted_run_keeps_what_it_has(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(progress: runner.Advance) -> None:
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(task, stop)
    assert len(Results(Path(task.folder) / "results.jsonl").all()) == 4
    assert len(measure(task)) == 9


def test_other_settings_are_measured_anew(task: Task, pictures: Path) -> None:
    first = measure(task)
    changed = (pictures / "captions.jsonl").read_text().replace("a cat", "a tiger")
    (pictures / "captions.jsonl").write_text(changed)
    second = measure(task)
    kept = {m.key for m in first} & {m.key for m in second}
    # the cat with its caption, twice; without one nothing has changed
    assert len(first) - len(kept) == 2


def test_two_runs_give_the_same_numbers(task: Task, tmp_path: Path) -> None:
    def numbers(measurements: list[Measurement]) -> list[Measurement]:
        return [replace(m, seconds=None) for m in measurements]

    assert numbers(measure(task)) == numbers(measure(replace(task, folder=tmp_path / "again")))


def test_a_record_is_enough_to_measure_again(
    task: Task, editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure(task)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for m in found:
        again = recompute(Measurement.from_line(m.as_line()), editor)
        assert again.psnr == pytest.approx(m.psnr, abs=1e-2)
        assert again.passes_inversion == m.passes_inversion
        assert (again.key, again.label, again.settings) == (m.key, m.label, m.settings)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_image_that_fails_does_not_spoil_the_others(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ReNoise.invert

    def failing(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        if "a dog" in prompts:
            raise NumericalError("NaN in the latent; use more steps")
        return real(self, editor, z_0, prompts)

    monkeypatch.setattr(ReNoise, "invert", failing)
    found = measure(task)
    assert {m.image for m in found if m.error} == {"dog.png"}
    assert all(m.psnr is None for m in found if m.error)
    summary = outputs.write(task.folder, "short", found)
    assert summary.lines[0]["failures"] == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["encode", "decode"])
def test_an_image_on_which_the_autoencoder_fails_is_no_end_of_the_run(
    task: Task, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Each image of a batch is tried alone, so that the others keep their numbers."""
    whole = {(m.image, m.label): m.psnr for m in measure(replace(task, folder=Path(task.folder) / "whole"))}
    bad = task.editor.fit(Path(str(task.source)) / "dog.png")
    latents = task.editor.encode([bad])
    real: Any = getattr(Editor, method)

    def is_bad(one: Any) -> bool:
        return one.tobytes() == bad.tobytes() if method == "encode" else torch.allclose(one, latents[0], atol=1e-4)

    def failing(self: Editor, given: Any, *rest: Any) -> Any:
        if any(map(is_bad, given)):
            raise NumericalError("NaN in the latent; use another precision")
        return real(self, given, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(Editor, method, failing)
        found = measure(task)
    assert {m.image for m in found if m.error} == {"dog.png"}
    assert {m.error for m in found if m.error} == {"NaN in the latent; use another precision"}
    for m in found:
        if m.error is None:
            assert m.psnr == pytest.approx(whole[m.image, m.label], abs=1e-2)
    assert outputs.write(task.folder, "short", found).lines[0]["measured"] == 2
    assert [m for m in measure(task) if m.error] == []


def test_a_full_disk_is_the_end_of_the_run(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise ImageError("cannot write: No space left on device")

    monkeypatch.setattr(images, "save", full)
    with pytest.raises(ImageError, match="No space left"):
        measure(task)


NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes that are not UTF-8")
@pytest.mark.slow
@pytest.mark.parametrize("captions", ["text", "json"])
def test_names_that_are_not_utf8(editor: Editor, tmp_path: Path, captions: str) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe4ten")
    folder.mkdir()
    Image.effect_noise((64, 64), 80).convert("RGB").save(folder / NOT_UTF8)
    if captions == "text":
        (folder / NOT_UTF8).with_suffix(".txt").write_text("a cat")
    else:
        line = json.dumps({"file": NOT_UTF8, "caption": "a cat"})
        (folder / "captions.jsonl").write_text(line)
    task = Task("short", editor, str(folder), tmp_path / os.fsdecode(b"\xfcut"))
    first = measure(task)
    assert {(m.image, m.error) for m in first} == {("caf\\xe9.png", None)}
    assert measure(task) == first
    outputs.write(task.folder, "short", first)
    assert "caf\\xe9.png" in (Path(task.folder) / "report.html").read_text(encoding="utf-8")
    (folder / NOT_UTF8).write_bytes(b"no image")
    broken = measure(task)
    assert all("caf\\udce9.png is not an image" in (m.error or "") for m in broken)
    assert measure(task) == broken
    outputs.write(task.folder, "short", broken)


def test_what_failed_is_tried_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        raise NumericalError("NaN in the latent")

    with monkeypatch.context() as broken:
        broken.setattr(ReNoise, "invert", failing)
        first = measure(task)
        size = (Path(task.folder) / "results.jsonl").stat().st_size
        assert measure(task) == first
        # What fails as before is not written again.
        assert (Path(task.folder) / "results.jsonl").stat().st_size == size
    assert {m.error for m in first} == {"NaN in the latent"}
    second = measure(task)
    assert [m.key for m in second] == [m.key for m in first]
    assert {m.error for m in second} == {None}
    everything = Results(Path(task.folder) / "results.jsonl").all()
    assert (len(everything), {m.error for m in everything}) == (9, {None})


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_image_that_cannot_be_read_ends_no_run(task: Task, pictures: Path, content: bytes) -> None:
    whole = (pictures / "dog.png").read_bytes()
    for name in ("dog.png", "lion.png"):
        (pictures / name).write_bytes(content)
    found = measure(task)
    assert {m.image for m in found if m.error} == {"dog.png", "lion.png"}
    assert len([m for m in found if m.error is None]) == 3
    for m in found:
        assert m.error is None or m.image in m.error
        assert "\n" not in (m.error or "")
        assert (m.image_hash == "") == (m.error is not None)
    summary = outputs.write(task.folder, "short", found)
    assert [(line["pictures"], line["measured"]) for line in summary.lines] == [(3, 1)] * 3
    assert measure(task) == found
    (pictures / "dog.png").write_bytes(whole)
    assert {m.image for m in measure(task) if m.error} == {"lion.png"}
    with pytest.raises(ConfigError, match="could not be read"):
        recompute(next(m for m in found if m.error), task.editor)


def test_images_none_of_which_can_be_read(task: Task, pictures: Path) -> None:
    for path in pictures.glob("*.png"):
        path.write_bytes(b"")
    assert len([m for m in measure(task) if m.error]) == 9


def test_a_row_that_no_sampler_has_says_why(editor: Editor, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    row = runs.Row("too long", ReNoise(InversionConfig(num_steps=1001, renoising=Renoising(0))))
    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("", lambda preset: (row,))})
    assert "more than the 1000 timesteps" in str(measure(task)[0].error)


def test_the_folder_of_a_run(task: Task) -> None:
    outputs.write(task.folder, "short", measure(task))
    assert {"results.jsonl", "summary.csv", "summary.md"} <= {p.name for p in Path(task.folder).iterdir()}
    assert len((Path(task.folder) / "results.jsonl").read_text().splitlines()) == 9


def test_damaged_results_are_refused(task: Task) -> None:
    Path(task.folder).mkdir()
    (Path(task.folder) / "results.jsonl").write_text("{}\n")
    with pytest.raises(StorageError, match="line 1"):
        measure(task)


def test_a_folder_that_cannot_be_made_is_refused(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        measure(replace(task, folder=tmp_path / "file" / "out"))


def test_a_folder_that_cannot_be_written_to_is_refused(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StorageError, match="cannot be written to: No space left on device; name another"):
        measure(task)
    assert not Path(task.folder).exists()


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_folder_that_was_made_for_nothing_is_taken_away(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        raise error

    monkeypatch.setattr(ReNoise, "invert", fail)
    with pytest.raises(type(error)):
        measure(replace(task, folder=tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    # One that was there stays, and one with something in it.
    (tmp_path / "a").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes").touch()
    for name in ("a/b", "c"):
        with pytest.raises(type(error)):
            measure(replace(task, folder=str(tmp_path / name)))
    assert list((tmp_path / "a").iterdir()) == []
    assert (tmp_path / "c" / "notes").exists()


def test_a_data_set_that_was_loaded_is_not_loaded_again(
    task: Task, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = data.load(pictures)
    expected = measure(task)
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    assert measure(task, examples=examples) == expected
    assert measure(replace(task, limit=1), examples=examples) == expected[::3]


def test_rows_of_ones_own(task: Task, tmp_path: Path) -> None:
    rows = [SHORT[0], runs.Row("seeded", ReNoise(InversionConfig(num_steps=1, renoising=Renoising(0), seed=5)))]
    mine = Task("mine", task.editor, str(task.source), str(tmp_path / "mine"), limit=2, rows=rows)
    found = measure(mine)
    assert [(m.run, m.label, m.image) for m in found] == [
        ("mine", row.label, name) for row in rows for name in ("cat.png", "dog.png")
    ]
    assert [m.seed for m in found] == [0, 0, 5, 5]
    summary = outputs.write(str(tmp_path / "mine"), "mine", found)
    assert [line["method"] for line in summary.lines] == ["reversing", "seeded"]
    assert "mine: a comparison of methods" in (tmp_path / "mine" / "report.html").read_text()
    assert recompute(found[2], task.editor).psnr == pytest.approx(found[2].psnr, abs=1e-2)


def test_rows_may_stand_in_for_a_runs_own(task: Task) -> None:
    assert [m.label for m in measure(replace(task, rows=SHORT[:1]))] == ["reversing"] * 3


def test_only_the_warning_about_noises_is_silenced(
    make_editor: MakeEditor, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    ancestral = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    method = ReNoise(InversionConfig(num_steps=4, renoising=Renoising(0)), 3)
    inversion = ancestral.invert(Path(task.source) / "cat.png", "a cat", config=method.config)
    with pytest.warns(DrawnNoiseWarning, match="adds noise in its steps"):
        ancestral.edit(inversion, "a cat", num_steps=3)
    real = ReNoise.invert

    def warning(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        warnings.warn("something else", stacklevel=1)
        return real(self, editor, z_0, prompts)

    monkeypatch.setattr(ReNoise, "invert", warning)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        measure(replace(task, editor=ancestral, limit=1, rows=(runs.Row("unequal", method),)))
    assert "something else" in [str(warning.message) for warning in seen]
    assert not [warning for warning in seen if issubclass(warning.category, DrawnNoiseWarning)]


def test_a_lost_image_cannot_be_measured_again(task: Task, editor: Editor) -> None:
    m = measure(task)[0]
    with pytest.raises(ConfigError, match="no image"):
        recompute(replace(m, image="horse.png"), editor)


def test_a_record_needs_its_own_image_only(task: Task, pictures: Path) -> None:
    found = measure(task)
    (pictures / "lion.png").unlink()
    assert recompute(found[1], task.editor).psnr == pytest.approx(found[1].psnr, abs=1e-2)
    with pytest.raises(ConfigError, match=r"1 image is missing.*lion\.png"):
        recompute(found[2], task.editor)


def test_a_image_in_another_place_is_looked_for(task: Task, pictures: Path) -> None:
    found = measure(task)
    lines = (pictures / "captions.jsonl").read_text().splitlines()
    (pictures / "captions.jsonl").write_text("\n".join(lines[::-1]))
    again = recompute(found[0], task.editor)
    assert (again.key, again.index) == (found[0].key, 2)
    assert recompute(replace(found[0], index=None), task.editor).key == found[0].key
    assert recompute(replace(found[0], index=99), task.editor).key == found[0].key


def test_a_record_is_not_measured_again_as_something_else(
    task: Task, make_editor: MakeEditor, pictures: Path, editor: Editor
) -> None:
    m = measure(task)[1]
    euler = make_editor(scheduler="EulerDiscreteScheduler")
    with pytest.raises(ConfigError, match=r"the model's sampler \(EulerDiscreteScheduler; it was "):
        recompute(m, euler)
    other = make_editor()
    with torch.no_grad():
        for p in other.pipe.unet.parameters():
            p.mul_(1.1)
    with pytest.raises(ConfigError, match="the model, whose weights are others; give what was measured"):
        recompute(m, other)
    half = make_editor()
    half.pipe.to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"the networks' type \(bfloat16; it was float32\); give"):
        recompute(m, half)
    older = json.loads(m.as_line())["settings"]
    del older["config"]["low_noise_below"]
    with pytest.raises(ConfigError, match="cannot be measured again: the method's settings; give"):
        recompute(keyed(replace(m, settings=older)), editor)
    for changes in ({"settings": SHORT[1].method.settings()}, {"prompt": "a horse"}):
        with pytest.raises(ConfigError, match="cannot be measured again: its settings or its prompt, which do not fit"):
            recompute(replace(m, **changes), editor)
    Image.new("RGB", (64, 64)).save(pictures / "dog.png")
    with pytest.raises(ConfigError, match=r"the image 'dog\.png' or its mask; give"):
        recompute(m, editor)


@pytest.fixture
def seeded(task: Task, make_editor: MakeEditor, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task on a sampler with noises: a row that has them, and a method without a seed."""

    def rows(presets: runs.Presets) -> tuple[runs.Row, ...]:
        config = replace(presets["reverse"], num_steps=2)
        return (runs.Row("ours", ReNoise(config), series="all"), runs.Row("theirs", DDIMInverse(2)))

    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("a short one", rows)})
    return replace(task, editor=make_editor(scheduler="EulerAncestralDiscreteScheduler"), limit=2, seed=(0, 1))


def test_every_seed_measures_every_image(seeded: Task) -> None:
    seen: list[runner.Advance] = []
    found = measure(seeded, seen.append)
    assert [(m.label, m.seed, m.image) for m in found] == [
        (label, seed, name) for label in ("ours", "theirs") for seed in (0, 1) for name in ("cat.png", "dog.png")
    ]
    assert (seen[-1].done, seen[-1].total) == (8, 8)
    first, second = found[:2], found[2:4]
    assert all(a.psnr != b.psnr for a, b in zip(first, second, strict=True))
    assert [m.settings["config"]["seed"] for m in (*first, *second)] == [0, 0, 1, 1]
    # A method without noises is measured once, and counts for every seed.
    assert [replace(m, seed=0) for m in found[6:]] == found[4:6]
    assert len(Results(Path(seeded.folder) / "results.jsonl").all()) == 6
    assert {m.series for m in found[:4]} == {"all"}


def test_a_seed_that_was_measured_is_not_measured_again(seeded: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, second) = (measure(replace(seeded, seed=seed)) for seed in (1, 0))
    calls, _ = remembered(monkeypatch)
    assert measure(seeded) == [*second[:2], *first[:2], *second[2:], *first[2:]]
    assert calls == []
    assert len(measure(replace(seeded, seed=(0, 1, 2)))) == 12
    assert calls == [["a cat", "a dog"]]
    again = recompute(first[1], seeded.editor)
    assert (again.seed, again.series, again.key) == (1, "all", first[1].key)
    assert again.psnr == pytest.approx(first[1].psnr, abs=1e-2)


def test_the_noise_is_measured_in_the_scale_of_white_noise(seeded: Task) -> None:
    m = measure(seeded)[0]
    scheduler = type(seeded.editor.pipe.scheduler).from_config(seeded.editor.pipe.scheduler.config)
    scheduler.set_timesteps(2)
    assert m.deviation is not None
    assert m.noise_deviation == pytest.approx(m.deviation / float(scheduler.init_noise_sigma), rel=1e-2)
    assert m.noise_mean is not None
    assert m.noise_whiteness is not None
    assert m.noise_kl is not None
    assert m.noise_kl >= 0.0


def test_passes_are_counted_for_each_image(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ReNoise.invert

    def unequal(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        return replace(real(self, editor, z_0, prompts), passes=7, passes_each=tuple(range(6, 6 + len(z_0))))

    monkeypatch.setattr(ReNoise, "invert", unequal)
    assert [m.passes_inversion for m in measure(task)[:3]] == [6, 7, 6]
