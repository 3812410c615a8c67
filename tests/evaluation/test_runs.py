"""The named runs: their rows are the paper's, and each run carries its flags."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from renoise import ConfigError, InversionConfig, presets
from renoise.cli.evaluation_options import RunName
from renoise.config import VARIANTS
from renoise.evaluation import runs
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.runs import RUNS, Plots, Row, named


def configs(run: str, preset: InversionConfig) -> list[InversionConfig]:
    return [row.method.config for row in rows_of(run, preset) if isinstance(row.method, ReNoise)]


def rows_of(run: str, preset: InversionConfig) -> tuple[Row, ...]:
    """Return a run's rows for a model whose preset by the paper is this one."""
    others = {variant: replace(preset, seed=99, strength=1 / (2 + place)) for place, variant in enumerate(VARIANTS)}
    return RUNS[run].rows({**others, "paper": preset})


def test_the_command_knows_every_run() -> None:
    assert set(get_args(RunName)) == set(RUNS)


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
    rows = rows_of("table1", presets[name])
    spent = [(m.num_inversion_steps, m.num_denoising_steps, m.iterations) for m in (row.method for row in rows)]
    assert spent == [(50, 50, 0), (75, 25, 0), (80, 20, 0), (90, 10, 0), (25, 25, 2), (20, 20, 3), (10, 10, 8)]
    assert {steps * (k + 1) + m for steps, m, k in spent} == {100}


@pytest.mark.parametrize("run", RUNS)
def test_labels_and_settings_are_all_different(run: str) -> None:
    rows = rows_of(run, presets["sdxl-turbo"])
    assert len({row.label for row in rows}) == len(rows)
    if run != "table2":  # its preset may be one of the paper's rows
        assert len({(str(row.method.settings()), row.prompt) for row in rows}) == len(rows)


def test_figure8_draws_in_as_many_steps_with_every_method() -> None:
    assert {row.method.num_denoising_steps for row in rows_of("figure8", presets["sd"])} == {4}


@pytest.mark.parametrize("name", presets)
def test_table1_samples_without_noises(name: str) -> None:
    methods = [row.method for row in rows_of("table1", presets[name])]
    assert {m.scheduler for m in methods if isinstance(m, ReNoise)} == {"DDIMScheduler"}
    assert len(methods) == 7
    assert "DDIM" in RUNS["table1"].about


@pytest.mark.parametrize("name", presets)
def test_table2_goes_on_behind_the_papers_rows(name: str) -> None:
    preset = presets[name]
    rows = rows_of("table2", preset)[7:]
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


def test_runs_carry_their_flags() -> None:
    assert [name for name, run in RUNS.items() if run.edits] == ["editing"]
    assert {name: run.plots for name, run in RUNS.items() if run.plots is not Plots.distributions} == {
        "figure7": Plots.residuals,
        "figure8": Plots.curves,
        "frontier": Plots.frontier,
    }
    assert [name for name, run in RUNS.items() if run.details] == ["frontier"]
    assert named("table2") is RUNS["table2"]


def test_a_name_that_is_none() -> None:
    with pytest.raises(
        ConfigError, match=r"the run 'mine' is unknown; use one of table1, .*, or give rows of your own"
    ):
        named("mine")


def test_the_papers_rows_stay_first() -> None:
    preset = replace(presets["sdxl-turbo"], seed=3)
    rows = rows_of("table2", preset)
    assert [(r.label, r.method) for r in rows[:7]] == [(name, ReNoise(c)) for name, c in runs.ablation(preset)]
    assert [(row.label, row.method) for row in rows[-4:]] == [
        ("DDIM inversion of diffusers", DDIMInverse(4)),
        ("edit-friendly DDPM inversion", EditFriendly(4, scheduler=None, seed=3)),
        ("negative-prompt inversion", NegativePrompt(preset.reversing())),
        ("null-prompt inversion", NullPrompt(preset.reversing())),
    ]
    assert {row.method.num_denoising_steps for row in rows} == {4}
    longer = [row.label for row in rows if row.method.num_inversion_steps != 4]
    assert longer == ["sampler reversing, twice the inversion steps"]
    assert len({row.label for row in rows}) == len(rows)
