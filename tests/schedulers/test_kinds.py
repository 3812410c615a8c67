"""The scheduler that takes the place of one that cannot be inverted, and the line of advice that says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from renoise import SchedulerError
from renoise.schedulers import exchanged, require_kind, steps_for, suiting

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SHIFTED = [
    ("DEISMultistepScheduler", {**FLOW, "flow_shift": 3.0}),
    ("DPMSolverMultistepScheduler", {**FLOW, "flow_shift": 3.0}),
    ("DPMSolverSinglestepScheduler", {**FLOW, "flow_shift": 3.0}),
    ("SASolverScheduler", {**FLOW, "flow_shift": 3.0}),
    ("UniPCMultistepScheduler", {**FLOW, "flow_shift": 3.0}),
    ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "flow_shift": 3.0}),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
]


class Pipe:
    """What a line of advice is about."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler


def followed(error: pytest.ExceptionInfo[SchedulerError], scheduler: Any) -> Any:
    """The scheduler that the line which an error advises makes."""
    line = re.search(r"pipe\.scheduler = .*\)", str(error.value))
    assert line is not None, error.value
    pipe = Pipe(scheduler)
    exec(line[0], {**vars(diffusers), "pipe": pipe})
    return pipe.scheduler


def refused(scheduler: Any, *, flow: bool) -> pytest.ExceptionInfo[SchedulerError]:
    with pytest.raises(SchedulerError) as error:
        require_kind(scheduler, flow=flow)
    return error


@pytest.mark.parametrize(("name", "settings"), SHIFTED)
def test_a_flow_keeps_its_shift(name: str, settings: dict[str, Any]) -> None:
    own = getattr(diffusers, name)(**settings)
    for other in (suiting(own, flow=True), followed(refused(own, flow=True), own)):
        assert type(other).__name__ == "FlowMatchEulerDiscreteScheduler"
        assert other.shift == other.config.shift == 3.0
        require_kind(other, flow=True)


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler"])
def test_a_flow_keeps_its_noise_levels(name: str) -> None:
    own = getattr(diffusers, name)(**FLOW, flow_shift=3.0)
    own.set_timesteps(8)
    sigmas = [step.sigma for step in steps_for(suiting(own, flow=True), 8)]
    assert sigmas[0] == pytest.approx(float(own.sigmas[0]), abs=1e-3)
    # The steps in between lie elsewhere, on the same curve.
    uniform = torch.tensor([s / (3.0 - 2.0 * s) for s in sigmas])
    assert torch.allclose(uniform.diff(), uniform.diff().mean().expand(7), atol=1e-3)


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler"])
def test_dynamic_shifting_is_kept(name: str) -> None:
    flux = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.4, max_shift=1.2, base_image_seq_len=128
    )
    own = getattr(diffusers, name).from_config(flux.config, **FLOW)
    for other in (suiting(own, flow=True), followed(refused(own, flow=True), own)):
        kept = ("use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len", "time_shift_type")
        assert {k: other.config[k] for k in kept} == {k: flux.config[k] for k in kept}
        assert steps_for(other, 5, mu=0.7) == steps_for(flux, 5, mu=0.7)


def test_the_shift_of_the_model_is_found_behind_a_sampler_of_another_kind() -> None:
    own = diffusers.DPMSolverMultistepScheduler.from_config(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).config)
    assert suiting(own, flow=True).shift == 3.0
    assert followed(refused(own, flow=True), own).shift == 3.0
    with pytest.raises(SchedulerError, match=r"another kind of model .diffusion.*published with"):
        require_kind(diffusers.DDIMScheduler(), flow=True)


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_an_edm_sampler_of_several_steps_becomes_euler(schedule: Any, prediction: Any) -> None:
    settings = {"sigma_min": 0.01, "sigma_max": 70.0, "sigma_data": 0.6, "rho": 5.0, "num_train_timesteps": 500}
    own = diffusers.EDMDPMSolverMultistepScheduler(**settings, sigma_schedule=schedule, prediction_type=prediction)
    own.set_timesteps(9)
    for other in (suiting(own, flow=False), followed(refused(own, flow=False), own)):
        assert type(other).__name__ == "EDMEulerScheduler"
        assert {k: other.config[k] for k in settings} == settings
        assert (other.config.sigma_schedule, other.config.prediction_type) == (schedule, prediction)
        other.set_timesteps(9)
        torch.testing.assert_close(other.sigmas, own.sigmas, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"])
def test_edm_settings_behind_a_sampler_by_betas_are_found(name: str, tmp_path: Path) -> None:
    own = getattr(diffusers, name).from_config(diffusers.EDMEulerScheduler(sigma_data=0.7).config)
    error = refused(own, flow=False)
    assert "EDM" in str(error.value)
    assert followed(error, own).config.sigma_data == suiting(own, flow=False).config.sigma_data == 0.7
    own.save_pretrained(tmp_path)
    assert suiting(getattr(diffusers, name).from_pretrained(tmp_path), flow=False).config.sigma_data == 0.7
    chosen = getattr(diffusers, name).from_config(diffusers.EDMEulerScheduler().config, beta_end=0.012)
    assert suiting(chosen, flow=False).config.beta_end == 0.012


@pytest.mark.parametrize("short", ["DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_edm_is_exchanged_for_no_other_kind(short: str) -> None:
    for own in (diffusers.EDMEulerScheduler(), diffusers.EDMDPMSolverMultistepScheduler()):
        with pytest.raises(SchedulerError, match=r"two kinds of models, EDM and .*edm-euler"):
            exchanged(own, short)
    with pytest.raises(SchedulerError, match=r"two kinds of models.*and EDM"):
        exchanged(getattr(diffusers, short)(), "EDMEulerScheduler")
    with pytest.raises(SchedulerError, match=r"another kind of model .EDM.*published with"):
        require_kind(diffusers.EDMEulerScheduler(), flow=True)


@pytest.mark.parametrize("name", ["PNDMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"])
@pytest.mark.parametrize("chosen", [{}, {"beta_start": 0.001, "beta_end": 0.013, "beta_schedule": "scaled_linear"}])
def test_the_line_for_a_sampler_of_several_steps_keeps_its_betas(name: str, chosen: dict[str, Any]) -> None:
    own = getattr(diffusers, name)(**chosen)
    other = followed(refused(own, flow=False), own)
    assert torch.allclose(other.alphas_cumprod, own.alphas_cumprod, atol=1e-7)
    assert len(steps_for(other, 5)) == 5


def test_betas_of_the_model_are_found_behind_a_sampler_of_flows() -> None:
    model = diffusers.EulerDiscreteScheduler(beta_start=0.001, beta_end=0.013, beta_schedule="scaled_linear")
    own = diffusers.FlowMatchEulerDiscreteScheduler.from_config(model.config)
    other = followed(refused(own, flow=False), own)
    assert torch.equal(other.alphas_cumprod, model.alphas_cumprod)
    with pytest.raises(SchedulerError, match=r"another kind of model .flow matching.*published with"):
        require_kind(diffusers.FlowMatchEulerDiscreteScheduler(), flow=False)


def test_a_sampler_of_an_unknown_kind_has_no_stand_in() -> None:
    own = diffusers.CMStochasticIterativeScheduler()
    with pytest.raises(SchedulerError, match=r"not known here.*published with"):
        require_kind(own, flow=False)
    with pytest.raises(SchedulerError, match=r"not known here.*published with"):
        suiting(own, flow=False)
