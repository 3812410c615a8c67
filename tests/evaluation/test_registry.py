"""Methods from their records: equal ones from whole records, refusals of damaged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from renoise import (
    ConfigError,
    InversionConfig,
    Renoising,
    presets,
)
from renoise.edit_rules import Changes, KeepStructure
from renoise.evaluation.methods import Method, ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.registry import METHODS, method_from
from renoise.evaluation.rule_records import changes_record

PLAIN = InversionConfig(num_steps=4, renoising=Renoising(0))
EVERY: list[Method] = [
    DDIMInverse(4),
    EditFriendly(4),
    NegativePrompt(PLAIN),
    NullPrompt(PLAIN),
]
RECORDED: list[Method] = [
    *EVERY,
    EditFriendly(100, 0.5, 0.64, 3.5, 15, None, 7),
    NegativePrompt(presets["sdxl-turbo"], 3),
    NullPrompt(replace(presets["lcm"], renoising=Renoising(1, weights=(1, 3)), renoising_low_noise=None)),
]


@pytest.mark.parametrize("method", RECORDED, ids=str)
def test_settings_make_an_equal_method(method: Method) -> None:
    settings = method.settings()
    assert settings["kind"] == method.kind
    again = method_from(json.loads(json.dumps(settings)))
    assert again == method
    assert again.settings() == settings
    assert type(again) is METHODS[method.kind]


@pytest.mark.parametrize("method", RECORDED, ids=str)
def test_settings_that_are_incomplete_or_damaged(method: Method) -> None:
    settings = method.settings()
    for key in settings:
        with pytest.raises(ConfigError, match="unknown" if key == "kind" else "incomplete or damaged"):
            method_from({name: value for name, value in settings.items() if name != key})
    for key in set(settings) - {"scheduler"}:
        with pytest.raises(ConfigError):
            method_from({**settings, key: "nonsense"})


@pytest.mark.parametrize("kind", [None, "", "ddim", 3, ["renoise"], {}])
def test_unknown_methods(kind: Any) -> None:
    with pytest.raises(ConfigError, match="known are renoise, ddim-inverse, edit-friendly, negative-prompt, null-prom"):
        method_from({"kind": kind})


@pytest.mark.parametrize(
    "settings", [{}, {"kind": "magic"}, {"kind": "renoise"}, {"kind": "renoise", "config": {}, "changes": {}}]
)
def test_damaged_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        method_from(settings)


def test_how_a_row_edits_is_part_of_its_settings() -> None:
    plain, strong = ReNoise(PLAIN), ReNoise(PLAIN, edit=Changes(KeepStructure(0.75)))
    assert "edit" not in plain.settings()
    assert strong.settings() == {**plain.settings(), "edit": changes_record(strong.edit)}
    assert method_from(json.loads(json.dumps(strong.settings()))) == strong
    for damaged in ({}, {"strength": None, "keep": None, "rule": {"strength": 1.0}}, 3):
        with pytest.raises(ConfigError):
            method_from({**plain.settings(), "edit": damaged})


def test_settings_of_every_preset_make_an_equal_method() -> None:
    for preset in presets.values():
        method = ReNoise(preset, 7, "DDIMScheduler", (("timestep_spacing", "trailing"),))
        assert method_from(json.loads(json.dumps(method.settings()))) == method
