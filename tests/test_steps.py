"""Laws of a step, over all samplers that make one."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from renoise import SchedulerError
from renoise.schedulers import steps_for
from renoise.steps import Step

DISCRETE = ["DDIMScheduler", "DDPMScheduler", "LCMScheduler", "TCDScheduler"]
EULER = ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"]
LIMITS = {"LCMScheduler": 50, "TCDScheduler": 50}


@st.composite
def tables(draw: st.DrawFn) -> tuple[Step, ...]:
    """The steps of some sampler with some settings."""
    name = draw(st.sampled_from([*DISCRETE, *EULER, "FlowMatchEulerDiscreteScheduler"]))
    cls = getattr(diffusers, name)
    predictions = ["epsilon", "v_prediction"]
    config: dict[str, Any] = {
        "prediction_type": draw(st.sampled_from(predictions)),
        "timestep_spacing": draw(st.sampled_from(["leading", "trailing", "linspace"])),
        "beta_schedule": draw(st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2"])),
        "clip_sample": False,
        "set_alpha_to_one": draw(st.booleans()),
        "shift": draw(st.sampled_from([1.0, 3.0])),
        "stochastic_sampling": draw(st.booleans()),
    }
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls(**{k: v for k, v in config.items() if k in known})
    eta = draw(st.sampled_from([None, 0.0, 0.5, 1.0])) if name in ("DDIMScheduler", "TCDScheduler") else None
    num_steps = draw(st.integers(1, LIMITS.get(name, 100)))
    return steps_for(scheduler, num_steps, eta=eta)


@settings(deadline=None, max_examples=150)
@given(steps=tables(), seed=st.integers(0, 2**32 - 1))
def test_invert_undoes_apply(steps: tuple[Step, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for step in steps:
        if not step.invertible:
            continue
        z, prediction, noise = torch.randn(3, 2, 4, 2, 2, generator=generator)
        z = z / step.input_scale
        back = step.invert(step.apply(z, prediction, noise), prediction, noise)
        # what float32 leaves of terms of this size when they are divided by phi
        size = (abs(step.phi) * float(z.abs().max()) + 4 * abs(step.psi) + 4 * step.rho) / abs(step.phi)
        assert float((back - z).abs().max()) < 1e-5 * (size + 1e-3), step


@settings(deadline=None, max_examples=100)
@given(steps=tables(), seed=st.integers(0, 2**32 - 1))
def test_noise_for_makes_the_step_exact(steps: tuple[Step, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for step in steps:
        z, prediction, target = torch.randn(3, 2, 4, 2, 2, generator=generator)
        if not step.stochastic:
            with pytest.raises(SchedulerError, match="adds no noise"):
                step.noise_for(target, z, prediction)
            continue
        reached = step.apply(z, prediction, step.noise_for(target, z, prediction))
        size = abs(step.phi) * 4 + abs(step.psi) * 4 + 4
        assert float((reached - target).abs().max()) < 1e-5 * size, step


def test_a_stochastic_step_wants_noise() -> None:
    step = Step(phi=1.0, psi=0.5, rho=0.1, timestep=500.0)
    with pytest.raises(SchedulerError, match="needs a noise"):
        step.apply(torch.zeros(1), torch.zeros(1))


def test_a_step_without_phi_is_not_inverted() -> None:
    step = Step(phi=0.0, psi=1.0, rho=0.0, timestep=1.0)
    assert not step.invertible
    with pytest.raises(SchedulerError, match="cannot be inverted"):
        step.invert(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize(("num_steps", "strength", "used"), [(10, 1.0, 10), (10, 0.5, 5), (10, 0.59, 5), (3, 0.34, 1)])
def test_strength_leaves_out_the_noisiest_steps(num_steps: int, strength: float, used: int) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    whole = steps_for(scheduler, num_steps)
    assert steps_for(scheduler, num_steps, strength=strength) == whole[num_steps - used :]


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, 0.2])
def test_impossible_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        steps_for(diffusers.DDIMScheduler(clip_sample=False), 4, strength=strength)
