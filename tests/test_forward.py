"""Noisy latents drawn along the forward chain, and the noises that make the steps between them exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import diffusers
import pytest
import torch
from torch import Tensor

from renoise.forward import Drawn, chained, drawn, made_exact
from renoise.network import Network
from renoise.schedulers import steps_for
from renoise.steps import Step

SAMPLERS = ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "LCMScheduler"]


def steps_of(name: str) -> Sequence[Step]:
    options = {} if name == "EulerAncestralDiscreteScheduler" or name == "LCMScheduler" else {"clip_sample": False}
    return steps_for(getattr(diffusers, name)(**options), 4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_chain_has_the_sampler_own_statistics(name: str) -> None:
    # Down the sampler with a network that knows z_0 and the noise: the pairs of neighbouring noises have a correlation.
    # Up the chain they have the same, and each noise is a unit one.
    generator = torch.Generator().manual_seed(0)
    for step, cleaner in zip(steps_of(name), steps_of(name)[1:], strict=False):
        held, fresh, image = torch.randn(3, 200_000, generator=generator, dtype=torch.float64)
        up = chained(step, held, fresh)
        assert float(up.std()) == pytest.approx(1.0, abs=0.01)
        z = step.add_noise(image, up)
        prediction = (image - step.x0_z * z) / step.x0_m
        down = step.apply(z, prediction, torch.randn(200_000, generator=generator, dtype=torch.float64))
        below = (down - cleaner.alpha * image) / cleaner.sigma
        expected = float((below * up).mean())
        assert float((held * up).mean()) == pytest.approx(expected, abs=0.015)


def network(calls: list[int], limit: int = 100) -> Network:
    def each(z: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        if len(z) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        calls.append(len(z))
        scales = torch.tensor([step.timestep / 1000 + image for step, image in zip(steps, images, strict=True)])
        return torch.tanh(z) * scales.view(-1, 1, 1, 1)

    return Network(lambda z, step: each(z, [step] * len(z), range(len(z))), predict_each=each)


def drawn_steps(count: int, images: int = 2) -> list[Drawn]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for index in range(count):
        step = Step(0.9, -0.4, 0.5, 900.0 - 100 * index, alpha=0.6, sigma=0.8)
        image, z_prev, held = torch.randn(3, images, 3, 4, 4, generator=generator)
        found.append(drawn(index, step, image, z_prev, held))
    return found


@pytest.mark.parametrize(("limit", "expected"), [(100, [6]), (5, [2, 4]), (2, [2, 2, 2])])
def test_noises_are_exact_however_many_run_at_a_time(limit: int, expected: list[int]) -> None:
    calls: list[int] = []
    counted = network(calls, limit)
    steps = drawn_steps(3)
    for found, exact in zip(steps, made_exact(steps, counted), strict=True):
        prediction = network([])(found.latents, found.step)
        again = found.step.apply(found.latents, prediction, exact.noise)
        torch.testing.assert_close(again, found.z_prev, rtol=1e-5, atol=1e-5)
    assert calls == expected
    assert counted.passes_of(range(2)) == [3, 3]  # a pass for each step, in one batch or not


def test_a_lack_of_memory_for_one_step_is_told() -> None:
    with pytest.raises(RuntimeError, match="allocate memory"):
        made_exact(drawn_steps(1), network([], limit=1))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(z: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        made_exact(drawn_steps(2), Network(lambda z, step: z, predict_each=broken))


def test_a_step_that_keeps_no_noise_takes_a_fresh_draw() -> None:
    step = Step(0.0, 1.0, 0.7, 500.0, alpha=0.6, sigma=0.8, x0_z=0.0, x0_m=1.0, eps_z=1.25, eps_m=-0.75)
    assert math.isclose(step.arrival[1], 0.0, abs_tol=1e-12)
    fresh = torch.randn(3)
    torch.testing.assert_close(chained(step, torch.ones(3), fresh), fresh)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_noise_of_the_chain_is_a_unit_one_that_leads_down_if_the_network_knows_the_image(name: str) -> None:
    image, held, fresh = torch.randn(3, 1, 50_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for step, cleaner in zip(steps_of(name), steps_of(name)[1:], strict=False):
        found = drawn(0, step, image, cleaner.add_noise(image, held), chained(step, held, fresh))
        assert float(found.noise.std()) == pytest.approx(1.0, abs=0.02)
        prediction = (image - step.x0_z * found.latents) / step.x0_m
        torch.testing.assert_close(step.apply(found.latents, prediction, found.noise), found.z_prev)
