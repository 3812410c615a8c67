"""What a scheduler from a file may say of itself, compared with what diffusers' schedulers take."""

from __future__ import annotations

import inspect
import json
from typing import Any

import diffusers
import msgspec
import pytest

from renoise import SchedulerError
from renoise.schedulers import SUPPORTED, describe, restore, steps_for
from renoise.schedulers.forms import FORMS, MOST_TIMESTEPS, require_record


def test_every_sampler_has_a_form() -> None:
    assert set(SUPPORTED) <= set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_settings_and_takes_the_defaults_of_diffusers(name: str) -> None:
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
    assert set(FORMS[name].__struct_fields__) == set(parameters) - {"self"}
    msgspec.convert(_defaults(parameters), FORMS[name])


def _defaults(parameters: Any) -> dict[str, Any]:
    return {key: p.default for key, p in parameters.items() if p.default is not p.empty}


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_is_described_is_restored(name: str) -> None:
    record = json.loads(json.dumps(describe(getattr(diffusers, name)())))
    assert describe(restore(record)) == record


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_setting_is_typed(name: str) -> None:
    for field in msgspec.structs.fields(FORMS[name]):
        for value in ({"a": 1}, [["a"]], "junk", -1e9):
            with pytest.raises(SchedulerError, match="make no sense"):
                require_record({"class": name, "config": {field.name: value}})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"class": "DDIMScheduler", "config": {"num_train_timesteps": MOST_TIMESTEPS + 1}}, "num_train_timesteps"),
        ({"class": "DDIMScheduler", "config": {"num_train_timesteps": 1000.0}}, "num_train_timesteps"),
        ({"class": "DDIMScheduler", "config": {"trained_betas": [0.1] * (MOST_TIMESTEPS + 1)}}, "config"),
        ({"class": "DDIMScheduler", "config": {"beta_start": float("nan")}}, "beta_start"),
        ({"class": "DDIMScheduler", "config": {"set_alpha_to_one": 1}}, "set_alpha_to_one"),
        ({"class": "DDIMScheduler", "config": {f"k{i}": 1 for i in range(201)}}, "length <= 200"),
        ({"class": "DDIMScheduler", "config": {"k" * 1000: 1}}, "config"),
        ({"class": "DDIMScheduler", "config": {}, "more": 1}, "more"),
        ({"class": "DDIMScheduler"}, "config"),
        ({"class": "FlowMatchEulerDiscreteScheduler", "config": {}, "shift": 0.0}, "shift"),
        ({"class": "FlowMatchEulerDiscreteScheduler", "config": {}, "shift": 1e300}, "shift"),
        ({"class": "os", "config": {}}, "'os', which is not supported"),
        ({"class": "UNet2DConditionModel", "config": {}}, "not supported"),
        ({"class": ["DDIMScheduler"], "config": {}}, "class"),
        ([], "Expected `object`"),
    ],
)
def test_records_without_sense_are_refused_by_name(record: Any, message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        require_record(record)
    with pytest.raises(SchedulerError):
        restore(record)


def test_settings_of_other_samplers_are_carried_along() -> None:
    source = diffusers.DPMSolverMultistepScheduler(solver_order=3, use_karras_sigmas=True, beta_end=0.012)
    scheduler: Any = diffusers.DDIMScheduler.from_config(source.config, clip_sample=False)
    record = json.loads(json.dumps(describe(scheduler)))
    assert record["config"]["solver_order"] == 3
    require_record(record)
    assert restore(record).config.beta_end == 0.012


def test_settings_that_are_no_plain_values_are_left_out() -> None:
    scheduler: Any = diffusers.DDIMScheduler()
    scheduler.register_to_config(odd={"a": 1}, plain=[1, None, "x"])
    record = describe(scheduler)
    assert "odd" not in record["config"]
    assert record["config"]["plain"] == [1, None, "x"]
    require_record(record)


def test_betas_without_sense_are_refused() -> None:
    for config in (
        {"beta_start": 0.0, "beta_end": 0.0},
        {"beta_start": 1.0, "beta_end": 1.0},
        {"trained_betas": [0.5]},
    ):
        record = {"class": "DDIMScheduler", "config": {"clip_sample": False, **config}}

        with pytest.raises(SchedulerError):
            steps_for(restore(record), 10)
