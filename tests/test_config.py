"""Settings: what they mean, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from renoise import ConfigError, EditLosses, InversionConfig, NoiseCorrection, Renoising, presets
from renoise.config import VARIANTS


@pytest.mark.parametrize(
    ("renoising", "weights"),
    [
        (Renoising(0), (1.0,)),
        (Renoising(2), (0.0, 0.0, 1.0)),
        (Renoising(2, average=(1, 3)), (0.0, 0.5, 0.5)),
        (Renoising(1, average=(0, 2)), (0.5, 0.5)),
        (Renoising(1, weights=(1, 3)), (0.25, 0.75)),
    ],
)
def test_weights(renoising: Renoising, weights: tuple[float, ...]) -> None:
    assert renoising.resolved_weights() == weights
    assert renoising.passes == len(weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": -1}, "iterations"),
        ({"iterations": 1.5}, "iterations"),
        ({"iterations": True}, "iterations"),
        ({"iterations": 3, "average": (0, 2), "weights": (1, 0, 0, 0)}, "not both"),
        ({"iterations": 3, "average": (2, 5)}, "does not fit 3 iterations"),
        ({"iterations": 3, "average": (2, 2)}, "does not fit"),
        ({"iterations": 3, "average": (-1, 2)}, "average"),
        ({"iterations": 3, "average": 2}, "pair"),
        ({"iterations": 3, "weights": (1, 1)}, "4 numbers"),
        ({"iterations": 1, "weights": (0, 0)}, "not all be zero"),
        ({"iterations": 1, "weights": (1, -1)}, "weights"),
        ({"iterations": 1, "weights": (1, float("nan"))}, "finite"),
    ],
)
def test_impossible_renoisings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Renoising(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_steps", 0),
        ("num_steps", 2.0),
        ("strength", 0.0),
        ("strength", 1.5),
        ("strength", float("nan")),
        ("guidance_scale", -1.0),
        ("guidance_scale", float("inf")),
        ("guidance_scale", "high"),
        ("seed", -1),
        ("seed", 2**63),
        ("eta", 2.0),
        ("low_noise_below", -1),
        ("renoising", 9),
        ("renoising_low_noise", 9),
        ("edit_losses", object()),
        ("noise_correction", object()),
    ],
)
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        InversionConfig(**{name: value})


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        InversionConfig().num_steps = 5  # type: ignore[misc]


def test_low_noise_has_its_own_renoising() -> None:
    config = InversionConfig(renoising=Renoising(4), renoising_low_noise=Renoising(1), low_noise_below=250)
    assert config.renoising_at(250) == Renoising(4)
    assert config.renoising_at(249) == Renoising(1)
    assert (config.passes_at(999), config.passes_at(1)) == (5, 2)
    assert InversionConfig(renoising=Renoising(4)).renoising_at(1) == Renoising(4)


def test_another_number_of_iterations_keeps_the_weights_that_fit() -> None:
    config = InversionConfig(renoising=Renoising(9, average=(7, 10)), renoising_low_noise=Renoising(3, average=(0, 4)))
    assert config.with_iterations(5).renoising == Renoising(5)
    assert config.with_iterations(5).renoising_low_noise == Renoising(5, average=(0, 4))
    assert config.with_iterations(12).renoising == Renoising(12, average=(7, 10))
    assert config.with_iterations(0) == InversionConfig(renoising=Renoising(0), renoising_low_noise=Renoising(0))
    assert Renoising(1, weights=(1, 2)).with_iterations(1) == Renoising(1, weights=(1, 2))
    assert Renoising(1, weights=(1, 2)).with_iterations(2) == Renoising(2)


def test_the_papers_settings() -> None:
    for name, patch_kl in (("sd", 0.05), ("sdxl", 0.055)):
        assert presets[name].num_steps == 50
        assert presets[name].renoising_at(250).resolved_weights() == (0.0, 1.0)
        assert presets[name].renoising_at(249).resolved_weights() == (0.5, 0.5)
        assert presets[name].edit_losses == EditLosses(pair=10.0, patch_kl=patch_kl)
    for name in ("sd-turbo", "sdxl-turbo"):
        turbo = presets[name]
        assert turbo.num_steps == 4
        assert turbo.renoising_at(500).resolved_weights() == (0.0,) * 7 + (1 / 3,) * 3
        assert turbo.renoising_at(100).resolved_weights() == (0.25,) * 4
        assert turbo.edit_losses == EditLosses(pair=10.0, patch_kl=0.055)
        assert turbo.noise_correction == NoiseCorrection(0.5)
    for name in ("lcm", "lcm-lora"):
        assert presets[name].num_steps == 4
        assert presets[name].renoising_at(500).resolved_weights() == (0.0,) * 5 + (1 / 3,) * 3
        assert presets[name].edit_losses == EditLosses(pair=20.0, patch_kl=0.075)


def test_the_published_codes_settings() -> None:
    released = presets["released"]
    assert released.renoising_at(250).resolved_weights() == (0.0,) * 8 + (0.5,) * 2
    assert released.renoising_at(249).resolved_weights() == (0.2,) * 5 + (0.0,)
    assert released.edit_losses == EditLosses(pair=20.0, patch_kl=0.065, steps=4, shifts=5, released_procedure=True)
    assert released.noise_correction == NoiseCorrection(moves=10, move_length=1.8)
    # 36 passes for the steps, a reference for each step, and one for each of the three noisy ones
    timesteps = (999, 749, 499, 249)
    assert sum(released.passes_at(t, stochastic=t > 250) for t in timesteps) == 36 + 4 + 3


def test_reversing_is_one_pass_a_step() -> None:
    for config in presets.values():
        plain = config.reversing()
        assert (plain.num_steps, plain.strength) == (config.num_steps, config.strength)
        assert {plain.passes_at(t, stochastic=True) for t in (1, 999)} == {1}
    assert presets["reverse"] == presets["sd"].reversing()


def test_a_record_gives_the_config_back() -> None:
    for config in presets.values():
        assert InversionConfig.from_record(json.loads(json.dumps(config.to_record()))) == config


class _Scheduler:
    def __init__(self, **config: Any) -> None:
        self.config = config


class _Network:
    def __init__(self, adapters: tuple[str, ...]) -> None:
        if adapters:
            self.peft_config = dict.fromkeys(adapters)


def pipeline_of(pipeline: str, scheduler: str, config: dict[str, Any], adapters: tuple[str, ...]) -> Any:
    parts = {"scheduler": type(scheduler, (_Scheduler,), {})(**config), "unet": _Network(adapters)}
    return type(pipeline, (), parts)()


SD, SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
TRAILING = {"timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("pipeline", "scheduler", "config", "adapters", "preset"),
    [
        (SD, "DDIMScheduler", {}, (), "sd"),
        (SD, "DDIMScheduler", TRAILING, (), "sd"),
        (SD, "DDIMScheduler", {}, ("a style",), "sd"),
        (SD, "LCMScheduler", {}, (), "lcm"),
        (SD, "LCMScheduler", {}, ("lcm",), "lcm-lora"),
        (SDXL, "EulerDiscreteScheduler", {"timestep_spacing": "leading"}, (), "sdxl"),
        (SDXL, "EulerAncestralDiscreteScheduler", TRAILING, (), "sdxl-turbo"),
        (SD, "EulerDiscreteScheduler", TRAILING, (), "sd-turbo"),
        (SDXL, "TCDScheduler", {}, (), "lcm"),
        (SDXL, "TCDScheduler", {}, ("hyper",), "lcm-lora"),
    ],
)
def test_the_preset_comes_from_the_pipeline(
    pipeline: str, scheduler: str, config: dict[str, Any], adapters: tuple[str, ...], preset: str
) -> None:
    pipe = pipeline_of(pipeline, scheduler, config, adapters)
    assert InversionConfig.for_pipeline(pipe, "paper") is presets[preset]
    kind = "few-step" if presets[preset].num_steps == 4 else "many-step"
    for variant in ("fast", "balanced", "exact"):
        assert InversionConfig.for_pipeline(pipe, variant) == presets[f"{variant}-{kind}"]
    for_edits = presets[f"edit-{kind}"]
    stochastic = scheduler in (
        "LCMScheduler",
        "EulerAncestralDiscreteScheduler",
        "TCDScheduler",
    )
    assert InversionConfig.for_pipeline(pipe) == (dataclasses.replace(for_edits, eta=None) if stochastic else for_edits)
    assert InversionConfig.for_pipeline(pipe, "reverse") == presets[preset].reversing()
    released = InversionConfig.for_pipeline(pipe, "released")
    assert released is presets["released" if presets[preset].num_steps == 4 else "released-many-step"]
    assert released.num_steps == presets[preset].num_steps


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "edit"])
@pytest.mark.parametrize("preset", ["z-image-turbo", "sana", "z-image", "krea2"])
def test_other_presets_keep_the_models_steps(preset: str, variant: str) -> None:
    own = presets[preset]
    assert own.variant(variant, flow=True).num_steps == own.num_steps
    listed = dataclasses.replace(own, timesteps=(999, 749, 499, 249))
    assert listed.variant(variant, flow=True).timesteps == (999, 749, 499, 249)


@pytest.mark.parametrize(
    ("preset", "steps"), [("flux2-klein", 4), ("z-image-turbo", 8), ("hidream-fast", 16), ("sd", 20)]
)
def test_edits_take_the_models_steps_and_twenty_at_most(preset: str, steps: int) -> None:
    assert presets[preset].variant("edit", flow=True).num_steps == steps


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match="fast, balanced, exact, paper, released, reverse"):
        InversionConfig.for_pipeline(pipeline_of(SD, "DDIMScheduler", {}, ()), "best")
