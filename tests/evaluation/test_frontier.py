"""The rows of the run `frontier`: they follow from whatever presets a model has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from renoise import InversionConfig, Renoising, presets
from renoise.config import VARIANTS
from renoise.evaluation.frontier import frontier_rows
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.runs import RUNS, Row

OTHERS = ("DDIM inversion of diffusers", "edit-friendly DDPM inversion", "negative-prompt inversion")


def rows_by_label(**own: InversionConfig) -> dict[str, Row]:
    paper = replace(presets["sd-turbo"], seed=3)
    known = {"paper": paper, "released": presets["released"], "reverse": paper.reversing()}
    return {row.label: row for row in frontier_rows({**known, **own})}


def test_the_rows_of_a_model_with_presets_of_this_project() -> None:
    fast, exact = replace(presets["sd-turbo"], strength=0.5), replace(presets["sd-turbo"], num_steps=7)
    rows = rows_by_label(fast=fast, exact=exact)
    assert list(rows) == [
        "preset fast",
        "preset exact",
        "sampler reversing",
        *(f"the paper's iteration, K = {k}" for k in (1, 2, 4, 9)),
        "the paper's preset",
        *OTHERS,
        "null-prompt inversion",
    ]
    assert [rows[f"preset {name}"].method for name in ("fast", "exact")] == [ReNoise(fast), ReNoise(exact)]
    assert {rows[f"preset {name}"].series for name in ("fast", "exact")} == {"this project's presets: fast, exact"}
    iterating = [row for label, row in rows.items() if label.startswith("the paper's iteration")]
    assert {row.series for row in iterating} == {"the paper's iteration, K = 1, 2, 4, 9"}
    assert [row.series for row in rows.values()].count(None) == 6


def test_the_papers_iteration_takes_the_last_prediction_alone() -> None:
    rows, paper = rows_by_label(), presets["sd-turbo"]
    for k in (1, 2, 4, 9):
        method = rows[f"the paper's iteration, K = {k}"].method
        assert method == ReNoise(replace(paper.reversing(), seed=3, renoising=Renoising(k)))
    assert rows["the paper's preset"].method == ReNoise(replace(paper, seed=3))
    assert rows["sampler reversing"].method == ReNoise(replace(paper, seed=3).reversing())


def test_a_model_without_such_presets() -> None:
    rows = rows_by_label()
    assert len(rows) == 10
    assert not any(label.startswith("preset ") for label in rows)


@pytest.mark.parametrize("name", presets)
def test_every_model_has_the_run(name: str) -> None:
    rows = RUNS["frontier"].rows(dict.fromkeys(VARIANTS, presets[name]))
    assert {row.method.num_denoising_steps for row in rows} == {presets[name].num_steps}
    assert len({row.label for row in rows}) == len(rows)
