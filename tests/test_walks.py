"""Schedules of unequal lengths meet at the noise level where the inversion ended."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch

from renoise.schedulers import steps_for
from renoise.steps import Step
from renoise.walks import joined

TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
DETERMINISTIC = ["DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]
STOCHASTIC = ["EulerAncestralDiscreteScheduler", "LCMScheduler", "DDPMScheduler", "TCDScheduler"]


def make(name: str, **changes: Any) -> Any:
    cls = getattr(diffusers, name)
    known = inspect.signature(cls.__init__).parameters
    return cls(**{k: v for k, v in {**TABLE, **changes}.items() if k in known})


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        *((name, kind) for name in DETERMINISTIC[:2] for kind in ("epsilon", "v_prediction", "sample")),
        ("FlowMatchEulerDiscreteScheduler", "velocity"),
    ],
)
def test_a_step_knows_where_it_arrives(name: str, prediction: str) -> None:
    steps = steps_for(make(name, prediction_type=prediction, set_alpha_to_one=False), 10)
    for step, following in pairwise(steps):
        assert step.arrival == pytest.approx((following.alpha, following.sigma), rel=1e-4)
        again = step.towards(*step.arrival)
        assert (again.phi, again.psi) == pytest.approx((step.phi, step.psi), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", DETERMINISTIC + STOCHASTIC)
def test_an_exact_prediction_is_carried_to_the_clean_latent(name: str) -> None:
    # A network that knows x0 and eps takes a noised latent back to x0, whatever the two schedules are.
    scheduler = make(name)
    x0, eps = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for inverted, asked, strength in [
        (10, 5, 1.0),
        (10, 5, 0.5),
        (10, 20, 1.0),
        (50, 4, 1.0),
        (10, 3, 0.59),
        (4, 7, 0.5),
    ]:
        top = steps_for(scheduler, inverted, strength=strength)[0]
        steps = joined(steps_for(scheduler, asked, strength=strength), top)
        z, previous = top.add_noise(x0, eps), top.noise_level
        for index, step in enumerate(steps):
            assert step.noise_level < previous or index == 0
            previous = step.noise_level
            implied = (z - step.alpha * x0) / step.sigma
            prediction = implied if not name.startswith("Flow") else implied - x0
            z = step.apply(z, prediction, torch.randn(z.shape, generator=torch.Generator().manual_seed(index)))
        assert steps[0].noise_level == pytest.approx(top.noise_level)
        assert float((z - x0).norm() / x0.norm()) < 0.1


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_deterministic_sampler_takes_no_more_steps_than_asked(name: str) -> None:
    scheduler = make(name)
    for inverted, asked in [(75, 25), (10, 5), (50, 4), (10, 20)]:
        top = steps_for(scheduler, inverted)[0]
        assert 1 <= len(joined(steps_for(scheduler, asked), top)) <= asked


def test_equal_schedules_are_left_alone() -> None:
    steps = steps_for(make("DDIMScheduler"), 10)
    assert joined(steps, steps[0]) == steps


def test_a_top_below_every_level_goes_straight_to_the_end() -> None:
    steps = steps_for(make("LCMScheduler"), 4)
    low = Step(phi=1.0, psi=0.0, rho=0.0, timestep=1.0, alpha=0.9999, sigma=0.014, x0_z=1.0001, x0_m=-0.014)
    (only,) = joined(steps, low)
    assert not only.stochastic
