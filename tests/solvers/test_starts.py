"""Where solves start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from problems import STEP, drawn
from renoise import ConfigError
from renoise.network import Network
from renoise.solvers import (
    Accepted,
    CleanerLatent,
    Extrapolated,
    FixedPoint,
    Known,
    LastEstimate,
    NoisedImage,
    Passes,
    Problem,
)
from renoise.steps import Step


def at(timestep: float) -> Step:
    """A step whose noise has a share of e^(timestep / 1000 - 1)."""
    share = math.exp(timestep / 1000.0 - 1.0)
    return Step(phi=0.9, psi=0.4, rho=0.0, timestep=timestep, alpha=1.0 - share, sigma=share)


NOISY = at(300.0)


def problem(known: Known | None, below: tuple[Step, ...] = ()) -> Problem:
    network = Network(lambda z, step: torch.full_like(z, step.timestep / 1000.0))
    return Problem(NOISY, drawn(1), None, network, known=known, below=below)


def test_without_anything_known_all_start_at_the_cleaner_latent() -> None:
    posed = problem(None)
    for start in (CleanerLatent(), NoisedImage(), Extrapolated(2), LastEstimate()):
        assert torch.equal(start.start(posed), posed.z_prev)


def test_a_noised_image_is_at_the_steps_own_level() -> None:
    image, noise = drawn(1, 1), drawn(1, 2)
    start = NoisedImage().start(problem(Known(image, noise)))
    torch.testing.assert_close(start, NOISY.alpha * image + NOISY.sigma * noise)
    quiet = problem(Known(image, None))
    assert torch.equal(NoisedImage().start(quiet), quiet.z_prev)


@pytest.mark.parametrize(("order", "expected"), [(1, 0.2), (2, 0.3), (3, 0.3)])
def test_extrapolation_continues_a_polynomial(order: int, expected: float) -> None:
    # Predictions that lie on a line: t / 1000. One node keeps the last of them.
    nodes = tuple(Accepted(at(t), torch.full((1, 2, 4, 4), t / 1000.0)) for t in (200.0, 100.0, 50.0))
    posed = problem(Known(drawn(1), None, nodes))
    torch.testing.assert_close(
        Extrapolated(order).start(posed), NOISY.invert(posed.z_prev, torch.full((1, 2, 4, 4), expected))
    )


def test_an_exact_extrapolation_is_solved_by_its_first_pass() -> None:
    nodes = tuple(Accepted(at(t), torch.full((1, 2, 4, 4), t / 1000.0)) for t in (200.0, 100.0))
    solution = FixedPoint(Extrapolated(2), stop=Passes(1)).solve(problem(Known(drawn(1), None, nodes)))
    assert float(solution.residuals) < 1e-6


def test_nodes_at_the_same_place_count_once() -> None:
    twice = tuple(Accepted(at(t), torch.full((1, 2, 4, 4), t / 1000.0)) for t in (200.0, 200.0, 300.0))
    posed = problem(Known(drawn(1), None, twice))
    start = Extrapolated(3).start(posed)
    torch.testing.assert_close(start, NOISY.invert(posed.z_prev, torch.full((1, 2, 4, 4), 0.2)))


def test_the_first_step_starts_otherwise() -> None:
    image, noise = drawn(1, 1), drawn(1, 2)
    posed = problem(Known(image, noise))
    start = Extrapolated(2, otherwise=NoisedImage()).start(posed)
    assert torch.equal(start, NoisedImage().start(posed))


def test_the_order_has_a_range() -> None:
    with pytest.raises(ConfigError, match="order must be a whole number"):
        Extrapolated(0)


def test_a_block_of_steps_is_exact_where_predictions_are_linear() -> None:
    nodes = tuple(Accepted(at(t), torch.full((1, 2, 4, 4), t / 1000.0)) for t in (150.0, 100.0))
    below = (at(200.0), at(250.0))
    posed = problem(Known(drawn(1), None, nodes), below)
    solution = FixedPoint(Extrapolated(2), stop=Passes(1)).solve(posed)
    assert solution.passes == 1
    z: Tensor = solution.value
    for step in (NOISY, *reversed(below)):
        z = step.apply(z, torch.full_like(z, step.timestep / 1000.0))
    torch.testing.assert_close(z, posed.z_prev, rtol=1e-5, atol=1e-5)


def test_the_prediction_that_makes_a_block_exact_leads_back_to_its_latent() -> None:
    nodes = tuple(Accepted(at(t), drawn(1, int(t))) for t in (150.0, 100.0))
    posed = problem(Known(drawn(1), None, nodes), (at(200.0),))
    z = drawn(1, 9)
    exact = posed.prediction_at(z)
    assert exact is not None
    torch.testing.assert_close(posed.invert(exact), z, rtol=1e-4, atol=1e-4)
    assert len(posed.path(exact)) == 1


def test_a_step_that_forgets_the_latent_is_solved_by_what_the_network_makes_of_it() -> None:
    # The last step of sample prediction: z_{t-1} is the prediction, whatever z_t is.
    forgets = Step(0.0, 1.0, 0.0, 100.0, alpha=0.9, sigma=0.4, x0_z=0.0, x0_m=1.0, eps_z=2.5, eps_m=-2.25)
    assert not forgets.invertible
    assert forgets.solvable
    image = drawn(1)
    network = Network(lambda z, step: z / 0.9 + 0.05 * torch.tanh(z))
    posed = Problem(forgets, image, None, network, known=Known(image, drawn(1, 5)))
    solution = FixedPoint(NoisedImage(), stop=Passes(6)).solve(posed)
    torch.testing.assert_close(network(solution.value, forgets), image, rtol=1e-3, atol=1e-3)


def test_a_step_from_pure_noise_that_forgets_it_cannot_be_solved() -> None:
    assert not Step(0.0, 1.0, 0.0, 999.0, alpha=0.0, sigma=1.0).solvable
    assert not Step(1e-7, 1.0, 0.0, 999.0, alpha=1.0, sigma=4096.0).solvable
    assert STEP.solvable
