"""Schedules as steps: which are refused with which remedy, and that the user's scheduler is left alone."""

from __future__ import annotations

import inspect
import math
from typing import Any

import diffusers
import pytest
import torch

from renoise import ConfigError, SchedulerError
from renoise.errors import Argument
from renoise.schedulers import steps_for

TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def test_zero_terminal_snr_with_epsilon_prediction_is_refused() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(SchedulerError, match="zero terminal SNR"):
        steps_for(scheduler, 10)


def test_trailing_spacing_has_no_surplus_timestep() -> None:
    # diffusers appends a timestep -1 at this length
    scheduler = diffusers.EulerDiscreteScheduler(**TABLE, timestep_spacing="trailing")
    steps = steps_for(scheduler, 61)
    assert len(steps) == 61
    assert steps[-1].timestep >= 0
    z, m = torch.randn(2, 1, 1, 2, 2)
    # the last step ends at sigma 0, where the latent is x0 itself: z - sigma m with sigma^2 = 1 / input_scale^2 - 1
    sigma = (1.0 / steps[-1].input_scale ** 2 - 1.0) ** 0.5
    torch.testing.assert_close(steps[-1].apply(z, m), z - sigma * m)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
@pytest.mark.parametrize("setting", ["clip_sample", "thresholding"])
def test_clipping_is_refused_with_the_remedy(name: str, setting: str) -> None:
    scheduler = getattr(diffusers, name)(**{"clip_sample": False, setting: True})
    with pytest.raises(SchedulerError, match=rf"{name}\.from_config\(pipe\.scheduler\.config, {setting}=False\)"):
        steps_for(scheduler, 10)


def test_samplers_of_several_steps_are_refused_with_the_remedy() -> None:
    with pytest.raises(SchedulerError, match=r"PNDMScheduler does not take .*DDIMScheduler\.from_config"):
        steps_for(diffusers.PNDMScheduler(), 10)


@pytest.mark.parametrize("variance", ["learned", "learned_range", "fixed_large_log"])
def test_learned_variances_are_refused(variance: str) -> None:
    with pytest.raises(SchedulerError, match="variance_type"):
        steps_for(diffusers.DDPMScheduler(clip_sample=False, variance_type=variance), 10)


@pytest.mark.parametrize("num_steps", [0, -1, 1001, 2.5, True])
def test_impossible_lengths_are_refused(num_steps: Any) -> None:
    with pytest.raises(ConfigError, match="num_steps"):
        steps_for(diffusers.DDIMScheduler(clip_sample=False), num_steps)


def test_a_timestep_outside_the_table_is_refused() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    with pytest.raises(SchedulerError, match="timestep 1000"):
        steps_for(scheduler, 1000)


def test_sample_prediction_is_refused_where_diffusers_has_none() -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**TABLE, prediction_type="sample")
    with pytest.raises(SchedulerError, match="does not implement sample prediction"):
        steps_for(scheduler, 4)


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_more_steps_than_the_distillation_had_are_refused(name: str) -> None:
    with pytest.raises(SchedulerError, match="no schedule of 51 steps"):
        steps_for(getattr(diffusers, name)(), 51)


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
def test_eta_is_refused_where_noise_has_its_own_measure(name: str) -> None:
    with pytest.raises(ConfigError, match="eta"):
        steps_for(getattr(diffusers, name)(), 10, eta=0.5)


def test_euler_with_eta_is_euler_ancestral() -> None:
    twin = steps_for(diffusers.EulerDiscreteScheduler(), 10, eta=1.0)
    for step, ancestral in zip(twin, steps_for(diffusers.EulerAncestralDiscreteScheduler(), 10), strict=True):
        for name in ("phi", "psi", "rho", "sigma"):
            assert getattr(step, name) == pytest.approx(getattr(ancestral, name), abs=1e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_renewing_noise_is_what_ddim_calls_eta(eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    for step, own in zip(steps_for(scheduler, 10), steps_for(scheduler, 10, eta=eta), strict=True):
        twin = step.renewing(eta)
        assert (twin.phi, twin.psi, twin.rho) == pytest.approx((own.phi, own.psi, own.rho), abs=1e-9)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_renewed_steps_lead_to_the_same_noise_levels(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    for step, own in zip(steps_for(scheduler, 10), steps_for(scheduler, 10, eta=0.7), strict=True):
        (alpha, sigma), (kept_alpha, kept_sigma) = step.arrival, own.arrival
        assert kept_alpha == pytest.approx(alpha)
        assert kept_sigma**2 + own.rho**2 == pytest.approx(sigma**2)
        assert own.stochastic == (sigma > 1e-6)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(ConfigError, match="eta"):
        steps_for(diffusers.DDIMScheduler(clip_sample=False), 10, eta=eta)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "LCMScheduler"])
def test_sample_prediction_cannot_invert_its_last_step(name: str) -> None:
    cls = getattr(diffusers, name)
    settings = {"prediction_type": "sample", "clip_sample": False}
    known = inspect.signature(cls.__init__).parameters
    steps = steps_for(cls(**{k: v for k, v in settings.items() if k in known}), 10)
    assert not steps[-1].invertible
    with pytest.raises(SchedulerError, match="cannot be inverted"):
        steps[-1].invert(torch.zeros(1), torch.zeros(1))


def test_the_users_scheduler_is_left_alone() -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**TABLE)
    scheduler.set_timesteps(7)
    scheduler.set_begin_index(3)
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in vars(scheduler).items()}
    steps_for(scheduler, 20)
    after = vars(scheduler)
    assert before.keys() == after.keys()
    for key, value in before.items():
        same = torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key]
        assert same, key


def test_the_strength_that_is_advised_leaves_a_step() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    for num_steps in (2, 3, 4, 6, 7, 28, 49, 50, 333, 999, 1000):
        with pytest.raises(ConfigError, match="leaves no step; use at least strength=") as error:
            steps_for(scheduler, num_steps, strength=0.99 / num_steps)
        advised = next(part for part in error.value.remedy if isinstance(part, Argument))
        assert len(steps_for(scheduler, num_steps, strength=float(advised.shown))) == 1


def test_a_schedule_without_numbers_is_refused_for_what_it_is() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift_terminal=0.02)
    with pytest.raises(SchedulerError, match=r"no finite steps with num_steps=1; use more steps"):
        steps_for(scheduler, 1)
    assert len(steps_for(scheduler, 2)) == 2


@pytest.mark.parametrize(
    "settings", [{"sigma_data": 0.0}, {"sigma_min": 0.0}, {"sigma_data": -1.0}, {"prediction_type": "sample"}]
)
def test_absurd_edm_settings_are_refused(settings: Any) -> None:
    with pytest.raises(SchedulerError):
        steps_for(diffusers.EDMEulerScheduler(**settings), 4)


def test_edm_steps_are_placed_where_settings_expect_them() -> None:
    sd = diffusers.EulerDiscreteScheduler(**TABLE)
    edm = diffusers.EDMEulerScheduler(sigma_data=0.5)
    for step in steps_for(edm, 20):
        assert step.timestep == pytest.approx(0.25 * math.log(step.sigma), abs=1e-6)
        least, most = (
            float(sd.sigmas[999 - place]) for place in (math.floor(step.placed_at), math.ceil(step.placed_at))
        )
        assert least * 0.999 <= min(max(step.sigma / 0.5, 0.02917), 14.614) <= most * 1.001
    assert [step.placed_at for step in steps_for(sd, 5)] == [step.timestep for step in steps_for(sd, 5)]
    continuous = diffusers.EulerDiscreteScheduler(**TABLE, timestep_type="continuous", prediction_type="v_prediction")
    placed = [step.placed_at for step in steps_for(continuous, 5)]
    assert placed == pytest.approx([step.timestep for step in steps_for(sd, 5)], abs=1e-2)
