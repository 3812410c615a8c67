"""Runs: what they measure, that they go on where they stopped, and that a record is enough to measure again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising, StorageError, images, presets
from renoise.evaluation import outputs, report, runner, runs
from renoise.evaluation.measurement import Measurement, Results
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.registry import method_from
from renoise.evaluation.runner import Task, measure, recompute

MakeEditor = Callable[..., Editor]
SHORT = (
    runs.Row("reversing", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(0)))),
    runs.Row("renoising", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3)), keep_residuals=True)),
    runs.Row("no prompt", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3))), ""),
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data set of three pictures."""
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
    for module in (runs, runner, report):
        monkeypatch.setattr(module, "RUNS", {"short": runs.Run("a short one", lambda preset: SHORT)})


@pytest.fixture
def task(editor: Editor, pictures: Path, tmp_path: Path) -> Task:
    return Task("short", editor, str(pictures), tmp_path / "out", batch=2)


def test_every_row_is_measured_on_every_picture(task: Task) -> None:
    seen: list[runner.Progress] = []
    found = measure(task, seen.append)
    assert [(m.method, m.picture) for m in found] == [
        (row.label, name) for row in SHORT for name in ("cat.png", "dog.png", "lion.png")
    ]
    assert [m.passes_inversion for m in found] == [2] * 3 + [8] * 6
    assert {m.passes_denoising for m in found} == {2}
    assert (seen[-1].done, seen[-1].total) == (9, 9)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    for m in found:
        assert m.error is None
        assert m.psnr is not None
        assert m.l2 is not None
        assert m.psnr == pytest.approx(-10 * np.log10(m.l2), abs=1e-3)
        assert (m.lpips, m.ms_ssim) == (None, None)
        assert m.prompt == ("" if m.method == "no prompt" else f"a {m.picture.removesuffix('.png')}")
        assert runner.picture_path(task.folder, f"{m.row:02d}", m.picture).is_file()
    renoised = [m for m in found if m.method == "renoising"]
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
    calls: list[Any] = []
    real = ReNoise.invert

    def counting(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        calls.append(list(prompts))
        return real(self, editor, z_0, prompts)

    monkeypatch.setattr(ReNoise, "invert", counting)
    second = measure(task)
    assert calls == [["a lion"], ["a lion"], [""]]
    assert [m for m in second if m.picture != "lion.png"] == first
    assert measure(task) == second
    assert len(calls) == 3


def test_an_interrupted_run_keeps_what_it_has(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(progress: runner.Progress) -> None:
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(task, stop)
    assert len(Results(task.folder / "results.jsonl").all()) == 4
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
        assert (again.key, again.method, again.settings) == (m.key, m.method, m.settings)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_picture_that_fails_does_not_spoil_the_others(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ReNoise.invert

    def failing(self: ReNoise, editor: Editor, z_0: torch.Tensor, prompts: Any) -> Any:
        if "a dog" in prompts:
            raise NumericalError("NaN in the latent; use more steps")
        return real(self, editor, z_0, prompts)

    monkeypatch.setattr(ReNoise, "invert", failing)
    found = measure(task)
    assert {m.picture for m in found if m.error} == {"dog.png"}
    assert all(m.psnr is None for m in found if m.error)
    summary = outputs.write(task.folder, "short", found)
    assert summary.lines[0].failures == pytest.approx(1 / 3)


def test_a_row_that_no_sampler_has_says_why(editor: Editor, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    row = runs.Row("too long", ReNoise(InversionConfig(num_steps=1001, renoising=Renoising(0))))
    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("", lambda preset: (row,))})
    assert "more than the 1000 timesteps" in str(measure(task)[0].error)


def test_the_folder_of_a_run(task: Task) -> None:
    outputs.write(task.folder, "short", measure(task))
    assert {"results.jsonl", "summary.csv", "summary.md"} <= {p.name for p in task.folder.iterdir()}
    assert len((task.folder / "results.jsonl").read_text().splitlines()) == 9


@pytest.mark.parametrize("change", [{"run": "table9"}, {"batch": 0}])
def test_impossible_tasks_are_refused(task: Task, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(task, **change)


def test_damaged_results_are_refused(task: Task) -> None:
    runner.make_folder(task.folder)
    (task.folder / "results.jsonl").write_text("{}\n")
    with pytest.raises(StorageError, match="line 1"):
        measure(task)


def test_a_folder_that_cannot_be_made_is_refused(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        measure(replace(task, folder=tmp_path / "file" / "out"))


def test_a_lost_picture_cannot_be_measured_again(task: Task, editor: Editor) -> None:
    m = measure(task)[0]
    with pytest.raises(ConfigError, match="no picture"):
        recompute(replace(m, picture="horse.png"), editor)


@pytest.mark.parametrize(
    "settings", [{}, {"kind": "magic"}, {"kind": "renoise"}, {"kind": "renoise", "config": {}, "changes": {}}]
)
def test_damaged_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        method_from(settings)


def test_settings_make_an_equal_method() -> None:
    for preset in presets.values():
        method = ReNoise(preset, 7, "DDIMScheduler", (("timestep_spacing", "trailing"),))
        assert method_from(json.loads(json.dumps(method.settings()))) == method
