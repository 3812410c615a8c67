"""Settings from JSON: every key known, every value of its type."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from renoise import ConfigError, EditLosses, InversionConfig, NoiseCorrection, Renoising
from renoise.config import presets

FULL = InversionConfig(
    renoising=Renoising(2, weights=(0.0, 1.0, 1.0)),
    renoising_low_noise=Renoising(1, average=(0, 2)),
    edit_losses=EditLosses(),
    noise_correction=NoiseCorrection(0.5, limit=1.0),
    solver=Renoising(3),
)


@pytest.mark.parametrize("config", [*presets.values(), FULL])
def test_records_give_equal_settings(config: InversionConfig) -> None:
    assert InversionConfig.from_record(json.loads(json.dumps(config.to_record()))) == config


def test_what_a_record_leaves_out_has_its_default() -> None:
    record = json.loads(json.dumps(FULL.to_record()))
    del record["true_cfg_scale"]  # as files from before it
    assert InversionConfig.from_record(record) == FULL


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(InversionConfig)])
@pytest.mark.parametrize("value", ["junk", "\ud800", ["junk"], {"junk": 1}, True, -1, 1e300, float("nan"), 10**30])
def test_every_setting_is_typed(name: str, value: Any) -> None:
    record = {**json.loads(json.dumps(FULL.to_record())), name: value}
    with pytest.raises(ConfigError):
        InversionConfig.from_record(record)


@pytest.mark.parametrize("part", ["renoising", "renoising_low_noise", "edit_losses", "noise_correction", "solver"])
@pytest.mark.parametrize("value", ["junk", [[1]], {"junk": 1}, -1, float("inf"), 10**30])
def test_every_setting_of_a_part_is_typed(part: str, value: Any) -> None:
    whole = json.loads(json.dumps(FULL.to_record()))
    for name in whole[part]:
        with pytest.raises(ConfigError):
            InversionConfig.from_record({**whole, part: {**whole[part], name: value}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": 1}, "hold timestep, which this version of renoise does not know; update renoise"),
        ({"edit_losses": {"lambda": 1}}, "hold edit_losses.lambda"),
        ({"solver": {"name": "renoising", "iterations": 1, "speed": 2}}, "speed"),
        ({"solver": {"name": "unheard of"}}, "unheard of"),
        ({"edit_losses": {"released_procedure": [1]}}, "released_procedure"),
    ],
)
def test_what_is_unknown_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InversionConfig.from_record({**json.loads(json.dumps(FULL.to_record())), **change})


def test_a_record_is_whole() -> None:
    record = json.loads(json.dumps(FULL.to_record()))
    del record["edit_losses"]
    for given, message in ((record, "lack edit_losses"), ([], "an object, not list"), (None, "not NoneType")):
        with pytest.raises(ConfigError, match=message):
            InversionConfig.from_record(given)  # type: ignore[arg-type]
