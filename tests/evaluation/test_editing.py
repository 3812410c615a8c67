"""The rows of the run `editing`: every way to invert, each rule at its strengths."""

from __future__ import annotations

import pytest

from renoise import InversionConfig, Renoising, presets
from renoise.config import VARIANTS
from renoise.edit_rules import DEFAULT_STRENGTH, KEEP, Changes
from renoise.evaluation.editing import RIVALS, STRENGTHS, editing_rows
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.rows import Row
from renoise.method_settings import Walk

FAST = InversionConfig(num_steps=4, renoising=Renoising(3))
DIRECT = InversionConfig(num_steps=4, walk=Walk(forward=True, direct=True))


def rows_of(name: str, **own: InversionConfig) -> dict[str, Row]:
    return {row.label: row for row in editing_rows({"paper": presets[name], **own})}


@pytest.mark.parametrize("name", presets)
def test_the_rows_of_every_preset(name: str) -> None:
    preset = presets[name]
    rows = rows_of(name)
    heavier = ["ReNoise, edit losses x 2", "ReNoise, edit losses x 4"] if preset.edit_losses else []
    assert list(rows) == [
        "sampler reversing",
        "ReNoise without edit losses",
        "ReNoise (the paper's preset)",
        *heavier,
        "edit-friendly DDPM inversion",
        "negative-prompt inversion",
        "null-prompt inversion",
    ]
    few, unguided = preset.few_steps, preset.few_steps or preset.walking.direct
    assert [row.guidance for row in rows.values()] == [1.0 if unguided else 1.5] * (len(rows) - 2) + [None] * 2
    assert {row.method.num_denoising_steps for row in rows.values()} == {preset.num_steps}
    own = [row.method.settings()["guidance_scale"] for row in list(rows.values())[-2:]]
    assert own == [1.5 if few else 7.5] * 2
    assert {row.prompt for row in rows.values()} == {None}


def test_the_papers_knob_is_a_series() -> None:
    rows = [row for row in rows_of("sdxl-turbo").values() if (row.series or "").startswith("the paper's preset")]
    losses = [row.method.config.edit_losses for row in rows if isinstance(row.method, ReNoise)]
    assert [None if each is None else each.pair for each in losses] == [None, 10.0, 20.0, 40.0]
    assert len({row.series for row in rows}) == 1


def test_a_preset_that_keeps_what_edits_need_is_measured_at_every_strength() -> None:
    rows = rows_of("sdxl-turbo", fast=FAST, edit=DIRECT)
    (fast,) = (row for label, row in rows.items() if label.startswith("preset fast"))
    assert fast.method == ReNoise(FAST)
    own = [row for label, row in rows.items() if label.startswith("preset edit")]
    edits = [row.method.edit for row in own if isinstance(row.method, ReNoise)]
    strong, rivals = edits[: -len(RIVALS)], edits[-len(RIVALS) :]
    every = sorted({*STRENGTHS, DEFAULT_STRENGTH})
    assert strong == [Changes(strength=strength, keep=keep) for keep in KEEP for strength in every]
    assert rivals == [Changes(rule) for rule in RIVALS.values()]
    expected = [f"preset edit, keep {keep}" for keep in KEEP for _ in every]
    assert [row.series for row in own] == expected + [None] * len(RIVALS)
    assert f"preset edit, keep auto, strength {DEFAULT_STRENGTH:g}" in rows
    # What a direct walk finds wants no guidance.
    assert {row.guidance for row in rows_of("sd", edit=DIRECT).values() if "strength" in row.label} == {1.0}


def test_labels_and_settings_are_all_different() -> None:
    rows = rows_of("sdxl-turbo", **{variant: DIRECT for variant in VARIANTS if variant == "edit"}, fast=FAST)
    assert len({str(row.method.settings()) for row in rows.values()}) == len(rows)
