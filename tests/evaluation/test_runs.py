"""The named runs: their rows are the paper's."""

from __future__ import annotations

import pytest

from renoise import InversionConfig, presets
from renoise.cli.options import RunName
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.runs import RUNS, about, draws_edits


def configs(run: str, preset: InversionConfig) -> list[InversionConfig]:
    return [row.method.config for row in RUNS[run].rows(preset) if isinstance(row.method, ReNoise)]


def test_the_command_knows_every_run() -> None:
    assert {name.value for name in RunName} == set(RUNS)


@pytest.mark.parametrize("name", presets)
def test_table2_adds_one_thing_a_row(name: str) -> None:
    rows = configs("table2", presets[name])[:7]
    assert [r.renoising.iterations for r in rows] == [0, 1, 4, 9, 9, 9, 9]
    assert [r.renoising.average for r in rows] == [None] * 4 + [(7, 10)] * 3
    assert [r.edit_losses is not None for r in rows] == [False] * 5 + [True] * 2
    assert [r.noise_correction is not None for r in rows] == [False] * 6 + [True]
    assert {r.num_steps for r in rows} == {presets[name].num_steps}


@pytest.mark.parametrize("name", presets)
def test_table1_spends_a_hundred_passes(name: str) -> None:
    rows = RUNS["table1"].rows(presets[name])
    spent = [(m.num_inversion_steps, m.num_denoising_steps, m.iterations) for m in (row.method for row in rows)]
    assert spent == [(50, 50, 0), (75, 25, 0), (80, 20, 0), (90, 10, 0), (25, 25, 2), (20, 20, 3), (10, 10, 8)]
    assert {steps * (k + 1) + m for steps, m, k in spent} == {100}


@pytest.mark.parametrize("run", RUNS)
def test_labels_and_settings_are_all_different(run: str) -> None:
    rows = RUNS[run].rows(presets["sdxl-turbo"])
    assert len({row.label for row in rows}) == len(rows)
    if run != "table2":  # its preset may be one of the paper's rows
        assert len({(str(row.method.settings()), row.prompt) for row in rows}) == len(rows)


def test_figure8_draws_in_as_many_steps_with_every_method() -> None:
    assert {row.method.num_denoising_steps for row in RUNS["figure8"].rows(presets["sd"])} == {4}


@pytest.mark.parametrize("name", presets)
def test_table1_samples_without_noises(name: str) -> None:
    methods = [row.method for row in RUNS["table1"].rows(presets[name])]
    assert {m.scheduler for m in methods if isinstance(m, ReNoise)} == {"DDIMScheduler"}
    assert len(methods) == 7
    assert "DDIM" in RUNS["table1"].about


@pytest.mark.parametrize("name", presets)
def test_table2_goes_on_behind_the_papers_rows(name: str) -> None:
    preset = presets[name]
    rows = RUNS["table2"].rows(preset)[7:]
    assert [row.label for row in rows] == [
        "averaging and noise correction, no edit losses",
        "this model's preset",
        "sampler reversing, twice the inversion steps",
        "DDIM inversion of diffusers",
        "edit-friendly DDPM inversion",
        "negative-prompt inversion",
        "null-prompt inversion",
    ]
    twice = rows[2].method
    assert (twice.num_inversion_steps, twice.num_denoising_steps) == (2 * preset.num_steps, preset.num_steps)
    assert twice.iterations == 0


def test_runs_that_edit_and_names_that_are_none() -> None:
    assert [run for run in RUNS if draws_edits(run)] == ["editing"]
    assert not draws_edits("mine")
    assert about("table2") == RUNS["table2"].about
    assert about("mine") == "a comparison of methods"
