"""Tasks: what is measured, and what cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renoise import ConfigError, Editor, InversionConfig, Renoising
from renoise.config import VARIANTS
from renoise.evaluation import runs
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.runner import Task
from renoise.evaluation.task import numbered_examples

SHORT = (
    runs.Row("reversing", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(0)))),
    runs.Row("renoising", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3)), keep_residuals=True)),
    runs.Row("no prompt", ReNoise(InversionConfig(num_steps=2, renoising=Renoising(3))), ""),
)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("a short one", lambda presets: SHORT)})


@pytest.fixture
def task(editor: Editor, tmp_path: Path) -> Task:
    return Task("short", editor, "mini-heldout", tmp_path / "out", batch=2)


@pytest.mark.parametrize("change", [{"run": "table9"}, {"batch": 0}])
def test_impossible_tasks_are_refused(task: Task, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(task, **change)


@pytest.mark.parametrize(
    "change", [{"rows": []}, {"rows": [SHORT[0], SHORT[0]]}, {"run": "", "rows": SHORT}, {"run": None, "rows": SHORT}]
)
def test_impossible_rows_are_refused(task: Task, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(task, **change)


def test_rows_of_ones_own_take_their_flags_and_not_a_names(task: Task) -> None:
    """A run that is called like one that edits does not edit because of its name."""
    mine = Task("editing", task.editor, str(task.source), task.folder, rows=SHORT)
    assert (mine.edits, mine.plan.edits) == (False, False)
    assert mine.plan.about == runs.ABOUT_OWN
    assert mine.plan.rows({}) == SHORT
    edits = Task("mine", task.editor, str(task.source), task.folder, rows=SHORT, edits=True)
    assert (edits.edits, edits.plan.edits) == (True, True)


def test_a_named_run_says_itself_whether_it_edits(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("", lambda presets: SHORT, edits=True)})
    edits = Task("short", task.editor, str(task.source), task.folder)
    assert edits.edits
    # Another row keeps what was said before.
    assert replace(edits, rows=SHORT[:1]).edits
    with pytest.raises(ConfigError, match="edits=True, not False; give rows"):
        replace(edits, edits=False)


def test_one_seed_and_several(task: Task) -> None:
    assert (task.seed, task.seeds) == (0, (0,))
    assert (replace(task, seed=[7]).seed, replace(task, seed=(2, 0)).seeds) == (7, (2, 0))
    assert replace(task, seed=range(3)).seeds == (0, 1, 2)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "0", None, [], (0, 0), (0, -1), ("0", "1")])
def test_impossible_seeds_are_refused(task: Task, seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        replace(task, seed=seed)


def test_every_row_has_every_seed(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(presets: runs.Presets) -> tuple[runs.Row, ...]:
        return tuple(runs.Row(name, ReNoise(preset)) for name, preset in presets.items())

    monkeypatch.setattr(runs, "RUNS", {"short": runs.Run("", rows)})
    planned = replace(task, seed=(4, 5)).planned
    assert [(one.row.label, one.place, one.seed) for one in planned] == [
        (name, place, seed) for place, name in enumerate(VARIANTS) for seed in (4, 5)
    ]
    for one in planned:
        config = InversionConfig.for_pipeline(task.editor.pipe, one.row.label)
        assert one.row.method == ReNoise(replace(config, seed=one.seed))


def test_rows_of_ones_own_have_their_own_seeds(task: Task) -> None:
    assert replace(task, seed=3, rows=SHORT).seeds == (3,)
    with pytest.raises(ConfigError, match="2 seeds are given for rows whose methods have their own seeds; give one"):
        replace(task, seed=(0, 1), rows=SHORT)


def test_the_first_images_are_left_out(task: Task) -> None:
    pytest.importorskip("renoise_mini")
    whole = numbered_examples(replace(task, limit=4), None)
    assert [index for index, _ in whole] == [0, 1, 2, 3]
    rest = replace(task, skip=3, limit=1)
    assert numbered_examples(rest, None) == whole[3:]
    assert numbered_examples(rest, [example for _, example in whole]) == whole[3:]
    count = len(numbered_examples(task, None))
    with pytest.raises(ConfigError, match=f"none is left of the first {count} images of mini-heldout without {count}"):
        numbered_examples(replace(task, skip=count), None)
    wrong: tuple[Any, ...] = (-1, 1.5, True)
    for skip in wrong:
        with pytest.raises(ConfigError, match="skip must be a whole number of at least 0"):
            replace(task, skip=skip)
