"""Iterations on linear and mildly nonlinear maps whose fixed points are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from problems import Counted, drawn, linear, missed
from renoise import ConfigError, Renoising
from renoise.solvers import Anderson, Damped, FixedPoint, Passes, Problem, Residual, updates

Map = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("eigenvalues", [[0.5, -0.3], [0.9, 0.5, -0.8, 0.1], [-3.0, 0.5], [4.0, -2.0, 0.3, 1.5]])
@pytest.mark.parametrize("relaxation", [1.0, 1.5])
def test_anderson_solves_a_linear_map_in_as_many_passes_as_it_has_eigenvalues(
    eigenvalues: list[float], relaxation: float
) -> None:
    known = drawn(2)
    apply = linear(eigenvalues)
    z_prev = known + apply(known)  # the fixed point of z_prev - m(z) is `known`
    problem = Counted([apply, apply]).problem(z_prev)
    update = Anderson(len(eigenvalues), relaxation, tikhonov=1e-12)
    solution = FixedPoint(update=update, stop=Residual(1e-5, 3 * len(eigenvalues) + 2)).solve(problem)
    torch.testing.assert_close(solution.value, known, rtol=1e-3, atol=1e-4)
    assert solution.converged.all()


@settings(deadline=None, max_examples=30)
@given(slope=st.floats(0.2, 0.9), turn=st.floats(-0.5, 0.5), seed=st.integers(0, 1000))
def test_anderson_needs_fewer_passes_than_the_papers_iteration_on_nonlinear_maps(
    slope: float, turn: float, seed: int
) -> None:
    mixing = linear([slope, 0.4 * turn], seed)

    def apply(z: Tensor) -> Tensor:
        return mixing(torch.tanh(z)) + turn * 0.3 * torch.sin(z)

    known = drawn(1, seed)
    z_prev = known + apply(known)
    passes = 8
    ours = Counted([apply]).problem(z_prev)
    found = FixedPoint(update=Anderson(5, 1.0), stop=Passes(passes)).solve(ours)
    paper = Counted([apply]).problem(z_prev)
    plain = Renoising(passes - 1).solve(paper)
    assert float(missed(ours, found.value)) <= 1.01 * float(missed(paper, plain.value)) + 1e-6
    if slope < 0.8:
        torch.testing.assert_close(found.value, known, rtol=1e-2, atol=1e-2)


def diverging(z: Tensor) -> Tensor:
    return 3.0 * z + 5.0 * torch.sin(9.0 * z)


@pytest.mark.parametrize("update", [Anderson(), Anderson(1, 1.0), Damped(1.0)])
@pytest.mark.parametrize("passes", [2, 3, 5, 9])
def test_a_diverging_map_comes_back_with_its_best_iterate(update: Anderson | Damped, passes: int) -> None:
    problem = Counted([diverging]).problem(drawn(1))
    solution = FixedPoint(update=update, stop=Passes(passes)).solve(problem)
    assert torch.isfinite(solution.value).all()
    best = float(solution.residuals.min())
    assert float(solution.reached) == best
    ordered = solution.residuals.flatten().tolist()[-2:]
    if int(solution.residuals.argmin()) < passes - 1 or (passes > 2 and ordered[0] > min(solution.residuals[:-2])):
        # One of the last two passes was not the best so far: the estimate is not moved any more.
        assert float(missed(problem, solution.value)) == pytest.approx(best, rel=1e-5)


def test_damping_tames_a_map_that_the_papers_iteration_runs_away_from() -> None:
    apply = linear([1.8, 0.2])
    known = drawn(1)
    z_prev = known + apply(known)
    runaway = Renoising(11).solve(Counted([apply]).problem(z_prev))
    damped = FixedPoint(update=Damped(0.5), stop=Passes(12)).solve(Counted([apply]).problem(z_prev))
    assert float(runaway.residuals[-1]) > 10.0
    torch.testing.assert_close(damped.value, known, rtol=1e-2, atol=1e-2)


MAPS: list[Map] = [linear([0.1, 0.05]), linear([0.9, -0.7, 0.3, 0.5], 1), diverging, lambda z: 0.3 * torch.tanh(z)]


@pytest.mark.parametrize("stop", [Passes(5), Residual(1e-3, 9)])
@pytest.mark.parametrize("update", [Anderson(3, 1.5), Damped(1.0)])
def test_images_of_a_batch_do_not_see_each_other(stop: Passes | Residual, update: Anderson | Damped) -> None:
    z_prev, together = drawn(len(MAPS), 3), Counted(MAPS)
    solver = FixedPoint(update=update, stop=stop)
    solution = solver.solve(together.problem(z_prev))
    for i, apply in enumerate(MAPS):
        alone = Counted([apply])
        own = solver.solve(alone.problem(z_prev[i : i + 1]))
        torch.testing.assert_close(solution.value[i], own.value[0], rtol=1e-3, atol=1e-4)
        taken = ~solution.residuals[:, i].isnan()
        torch.testing.assert_close(solution.residuals[taken, i], own.residuals[:, 0], rtol=1e-3, atol=1e-6)
        assert together.calls[i] == alone.calls[0] == int(taken.sum())


def test_an_image_that_is_done_leaves_the_batch_and_its_passes_are_its_own() -> None:
    counted = Counted(MAPS)
    solution = FixedPoint(update=Anderson(), stop=Residual(1e-4, 7)).solve(counted.problem(drawn(len(MAPS), 4)))
    taken = [counted.calls[i] for i in range(len(MAPS))]
    assert counted.network.passes_of(range(len(MAPS))) == taken
    assert len(set(taken)) > 1
    assert solution.passes == max(taken) == counted.network.passes


def test_a_least_squares_problem_without_information_is_a_damped_move() -> None:
    # All estimates are equal, so that their differences are 0.
    known = torch.ones(1, 2, 4, 4)
    solution = FixedPoint(update=Anderson(), stop=Passes(4)).solve(Counted([torch.zeros_like]).problem(known))
    assert torch.equal(solution.value, known)


def test_half_a_precision_more_does_not_matter() -> None:
    apply = linear([0.7, 0.2])
    z_prev = drawn(1) * 1e-6  # latents of any scale: the fit is relative
    tiny = FixedPoint(stop=Passes(4)).solve(Counted([apply]).problem(z_prev)).value
    large = FixedPoint(stop=Passes(4)).solve(Counted([apply]).problem(z_prev * 1e9)).value
    torch.testing.assert_close(tiny * 1e9, large, rtol=1e-4, atol=1e-4)


def test_an_estimate_at_which_there_are_no_numbers_teaches_nothing() -> None:
    mixing, known = linear([0.9, -0.6]), drawn(1)
    z_prev = known + mixing(known)

    def apply(z: Tensor) -> Tensor:
        return torch.where(z.abs().amax() > 2.0 * z_prev.abs().amax(), torch.nan, mixing(z))

    # The first move is far too large. What it found is forgotten, and the second one is half of it.
    solution = FixedPoint(update=Anderson(3, 4.0), stop=Passes(12)).solve(Counted([apply]).problem(z_prev))
    assert solution.residuals[1].isnan()
    assert int(solution.residuals.isnan().sum()) == 1
    torch.testing.assert_close(solution.value, known, rtol=0.05, atol=0.01)


@dataclass(frozen=True)
class Endless:
    """A stop that never says stop."""

    most: int = 3

    def reached(self, passes: int, left: Tensor) -> Tensor:
        return torch.zeros_like(left, dtype=torch.bool)


def test_a_stop_of_ones_own_ends_after_its_most_passes() -> None:
    assert FixedPoint(stop=Endless()).solve(Counted([torch.sin]).problem(drawn(1))).passes == 3


@dataclass(frozen=True)
class Flat:
    """A start that gives no latents."""

    def start(self, problem: Problem) -> Tensor:
        return problem.z_prev.flatten(1)


def test_a_start_of_ones_own_gives_latents() -> None:
    with pytest.raises(ConfigError, match=r"start must return latents torch.float32 \(1, 2, 4, 4\) from start, not"):
        FixedPoint(Flat()).solve(Counted([torch.sin]).problem(drawn(1)))


@pytest.mark.parametrize("update", [Anderson, Damped])
def test_an_update_that_never_moves_is_refused(update: type[Anderson] | type[Damped]) -> None:
    with pytest.raises(ConfigError, match="relaxation must be above 0"):
        update(relaxation=0.0)


def test_float64_is_computed_where_there_is_some() -> None:
    assert updates._exact_device(torch.device("mps")) == torch.device("cpu")
    assert updates._exact_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("name", "value"), [("start", Anderson()), ("update", Passes(2)), ("stop", 3), ("stop", Passes)]
)
def test_what_is_no_part_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a value") as caught:
        FixedPoint(**{name: value})  # type: ignore[arg-type]
    assert caught.value.argument == name
