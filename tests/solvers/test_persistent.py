"""Images that do not converge are found by their residuals and solved again."""

from __future__ import annotations

import pytest
import torch

from problems import Counted, drawn, linear, missed
from renoise import ConfigError, Renoising
from renoise.solvers import CONVERGED, Damped, FixedPoint, LastEstimate, Passes, Persistent, Residual

EASY, HARD = linear([0.1, 0.2]), linear([2.5, 0.3, 1.7, 0.1], 1)


def test_an_image_that_is_left_is_retried_and_the_others_take_no_pass() -> None:
    z_prev, counted = drawn(3), Counted([EASY, HARD, EASY])
    solver = Persistent(Renoising(2))
    solution = solver.solve(counted.problem(z_prev))
    assert solution.converged.all()
    assert counted.calls[0] == counted.calls[2] == 3
    assert counted.calls[1] > 3
    assert solution.passes == counted.calls[1]
    alone = Counted([HARD])
    torch.testing.assert_close(solver.solve(alone.problem(z_prev[1:2])).value, solution.value[1:2])
    assert alone.calls[0] == counted.calls[1]
    assert (missed(Counted([EASY, HARD, EASY]).problem(z_prev), solution.value) <= CONVERGED).all()
    # The history holds every pass; what an image did not take part in is no number.
    assert int((~solution.residuals[:, 1].isnan()).sum()) == counted.calls[1]
    assert int((~solution.residuals[:, 0].isnan()).sum()) == 3


def test_nothing_is_retried_where_everything_converged() -> None:
    counted = Counted([EASY, EASY])
    first = Renoising(5)
    solution = Persistent(first).solve(counted.problem(drawn(2)))
    assert torch.equal(solution.value, first.solve(Counted([EASY, EASY]).problem(drawn(2))).value)
    assert counted.calls == {0: 6, 1: 6}


def test_the_retries_come_in_their_order_and_only_what_is_better_is_taken() -> None:
    worse = FixedPoint(LastEstimate(), Damped(40.0), Passes(1))
    better = FixedPoint(LastEstimate(), Damped(0.3), Passes(60))
    z_prev = drawn(1)
    solution = Persistent(Renoising(1), (worse, better)).solve(Counted([HARD]).problem(z_prev))
    assert solution.converged.all()
    hopeless = Persistent(Renoising(1), (worse,)).solve(Counted([HARD]).problem(z_prev))
    assert not hopeless.converged.any()
    assert float(hopeless.reached) <= float(Renoising(1).solve(Counted([HARD]).problem(z_prev)).residuals[-1])


def test_what_cannot_be_solved_is_reported() -> None:
    # No z has z + m(z) = z_prev: the network's output always misses.
    counted = Counted([EASY, lambda z: 5.0 - z])
    solution = Persistent(Renoising(1)).solve(counted.problem(drawn(2)))
    assert solution.converged.tolist() == [True, False]
    assert float(solution.reached[1]) > CONVERGED


def test_its_most_passes_are_those_of_images_without_retries() -> None:
    assert Persistent(FixedPoint(stop=Residual(1e-3, 7))).max_passes == 7


@pytest.mark.parametrize("solver", [None, "renoising", Renoising])
def test_what_is_no_solver_is_refused(solver: object) -> None:
    with pytest.raises(ConfigError, match="solver must be a value with a method solve"):
        Persistent(solver)  # type: ignore[arg-type]


@pytest.mark.parametrize("retries", [None, 3, Renoising(1)])
def test_retries_are_several(retries: object) -> None:
    with pytest.raises(ConfigError, match="retries must be a tuple of solvers"):
        Persistent(Renoising(1), retries)  # type: ignore[arg-type]


def test_retries_in_a_list_are_those_in_a_tuple() -> None:
    assert Persistent(Renoising(1), [Renoising(2)]) == Persistent(Renoising(1), (Renoising(2),))  # type: ignore[arg-type]
