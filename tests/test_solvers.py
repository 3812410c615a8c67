"""The solver on problems whose answers are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from renoise import SchedulerError
from renoise.solvers import renoise
from renoise.steps import Step

STEP = Step(phi=1.1, psi=0.3, rho=0.2, timestep=500.0)


def last_of(passes: int) -> list[float]:
    return [0.0] * (passes - 1) + [1.0]


@settings(deadline=None, max_examples=50)
@given(slope=st.floats(-0.9, 0.9), phi=st.floats(0.8, 1.5), psi=st.floats(-0.5, 0.5))
def test_a_linear_network_has_the_exact_fixed_point(slope: float, phi: float, psi: float) -> None:
    step = Step(phi=phi, psi=psi, rho=0.0, timestep=1.0)
    z_prev = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    solution = renoise(step, lambda z: slope * z, z_prev, None, last_of(80))
    torch.testing.assert_close(solution.value, z_prev / (phi + psi * slope), rtol=1e-5, atol=1e-5)
    assert float(solution.residuals[-1].max()) < 1e-5


def test_reversing_is_one_pass_at_the_cleaner_latent() -> None:
    z_prev, noise = torch.randn(2, 1, 3, 2, 2)
    solution = renoise(STEP, torch.tanh, z_prev, noise, [1.0])
    assert torch.equal(solution.value, STEP.invert(z_prev, torch.tanh(z_prev), noise))
    assert solution.residuals.shape == (1, 1)


def test_the_residual_is_how_far_the_forward_step_misses() -> None:
    z_prev, noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    passes = 5
    solution = renoise(STEP, torch.tanh, z_prev, noise, last_of(passes))
    before = renoise(STEP, torch.tanh, z_prev, noise, last_of(passes - 1)).value
    missed = STEP.apply(before, torch.tanh(before), noise) - z_prev
    expected = missed.flatten(1).norm(dim=1) / z_prev.flatten(1).norm(dim=1)
    torch.testing.assert_close(solution.residuals[-1], expected, rtol=1e-4, atol=1e-7)


def test_averaging_estimates_is_averaging_predictions() -> None:
    z_prev, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    predictions: list[Tensor] = []

    def network(z: Tensor) -> Tensor:
        predictions.append(torch.tanh(2 * z))
        return predictions[-1]

    weights = [0.0, 0.25, 0.25, 0.5]
    solution = renoise(STEP, network, z_prev, noise, weights)
    mean = sum((w * m for w, m in zip(weights, predictions, strict=True)), torch.zeros(()))
    torch.testing.assert_close(solution.value, STEP.invert(z_prev, mean, noise))
    assert len(predictions) == len(weights)


def test_refining_leaves_the_residual_a_measure_of_the_step() -> None:
    z_prev, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(4))
    plain = renoise(STEP, torch.tanh, z_prev, noise, last_of(30))
    refined = renoise(STEP, torch.tanh, z_prev, noise, last_of(30), lambda z, prediction: prediction + 1.0)
    assert float(plain.residuals[-1]) < 1e-6
    torch.testing.assert_close(refined.residuals, plain.residuals)
    torch.testing.assert_close(refined.value, plain.value - STEP.psi / STEP.phi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "as_released", "refined"),
    [
        ([0.0, 0.0, 1.0], False, [2]),
        ([0.0, 0.5, 0.5], False, [1, 2]),
        ([0.5, 0.5, 0.0], False, [0, 1]),
        ([0.0, 0.0, 1.0], True, [1, 2, "mean"]),
        ([0.5, 0.5, 0.0], True, [0, 1, 2, "mean"]),
    ],
)
def test_which_predictions_are_refined(weights: list[float], as_released: bool, refined: list[object]) -> None:
    predictions: list[Tensor] = []
    seen: list[object] = []

    def network(z: Tensor) -> Tensor:
        predictions.append(torch.tanh(2 * z))
        return predictions[-1]

    def refine(z: Tensor, prediction: Tensor) -> Tensor:
        known = [k for k, p in enumerate(predictions) if p is prediction]
        seen.append(known[0] if known else "mean")
        return prediction

    z_prev, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    plain = renoise(STEP, network, z_prev, noise, weights)
    predictions.clear()
    solution = renoise(STEP, network, z_prev, noise, weights, refine, refine_as_released=as_released)
    assert seen == refined
    torch.testing.assert_close(solution.value, plain.value)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    z_prev, noise = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    together = renoise(STEP, torch.tanh, z_prev, noise, last_of(4))
    for i in range(3):
        alone = renoise(STEP, torch.tanh, z_prev[i : i + 1], noise[i : i + 1], last_of(4))
        torch.testing.assert_close(together.value[i : i + 1], alone.value)
        torch.testing.assert_close(together.residuals[:, i : i + 1], alone.residuals)


def test_a_latent_of_zeros_has_finite_residuals_of_zero() -> None:
    solution = renoise(Step(1.0, 0.5, 0.0, 1.0), torch.zeros_like, torch.zeros(1, 1, 2, 2), None, [1.0])
    assert float(solution.residuals) == 0.0


def test_a_step_that_cannot_be_inverted_costs_no_pass() -> None:
    def network(z: Tensor) -> Tensor:
        raise AssertionError("the network ran")

    with pytest.raises(SchedulerError):
        renoise(Step(0.0, 1.0, 0.0, 1.0), network, torch.zeros(1, 1, 2, 2), None, [1.0])
