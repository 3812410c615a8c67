"""The solver on problems whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from renoise import ConfigError, Editor, Inversion, InversionConfig, SchedulerError, StorageError
from renoise.network import Network
from renoise.solvers import CONVERGED, SOLVERS, Problem, Refine, Renoising, Solution, solver_from, solver_record
from renoise.steps import Step

STEP = Step(phi=1.1, psi=0.3, rho=0.2, timestep=500.0)


def solved(
    step: Step,
    predict: Callable[[Tensor], Tensor],
    z_prev: Tensor,
    noise: Tensor | None,
    weights: list[float],
    refine: Refine | None = None,
    *,
    refine_as_published: bool = False,
) -> Solution:
    """What the paper's iteration finds with these weights."""
    network = Network(lambda z, step: predict(z))
    problem = Problem(step, z_prev, noise, network, refine, refine_as_published=refine_as_published)
    solution = Renoising(len(weights) - 1, weights=tuple(weights)).solve(problem)
    assert solution.passes == network.passes == len(weights) == len(solution.residuals)
    return solution


def last_of(passes: int) -> list[float]:
    return [0.0] * (passes - 1) + [1.0]


@settings(deadline=None, max_examples=50)
@given(slope=st.floats(-0.9, 0.9), phi=st.floats(0.8, 1.5), psi=st.floats(-0.5, 0.5))
def test_a_linear_network_has_the_exact_fixed_point(slope: float, phi: float, psi: float) -> None:
    step = Step(phi=phi, psi=psi, rho=0.0, timestep=1.0)
    z_prev = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    solution = solved(step, lambda z: slope * z, z_prev, None, last_of(80))
    torch.testing.assert_close(solution.value, z_prev / (phi + psi * slope), rtol=1e-5, atol=1e-5)
    assert float(solution.residuals[-1].max()) < 1e-5


def test_reversing_is_one_pass_at_the_cleaner_latent() -> None:
    z_prev, noise = torch.randn(2, 1, 3, 2, 2)
    solution = solved(STEP, torch.tanh, z_prev, noise, [1.0])
    assert torch.equal(solution.value, STEP.invert(z_prev, torch.tanh(z_prev), noise))
    assert solution.residuals.shape == (1, 1)


def test_the_residual_is_how_far_the_forward_step_misses() -> None:
    z_prev, noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    passes = 5
    solution = solved(STEP, torch.tanh, z_prev, noise, last_of(passes))
    before = solved(STEP, torch.tanh, z_prev, noise, last_of(passes - 1)).value
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
    solution = solved(STEP, network, z_prev, noise, weights)
    mean = sum((w * m for w, m in zip(weights, predictions, strict=True)), torch.zeros(()))
    torch.testing.assert_close(solution.value, STEP.invert(z_prev, mean, noise))
    assert len(predictions) == len(weights)


def test_refining_leaves_the_residual_a_measure_of_the_step() -> None:
    z_prev, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(4))
    plain = solved(STEP, torch.tanh, z_prev, noise, last_of(30))
    refined = solved(STEP, torch.tanh, z_prev, noise, last_of(30), lambda z, prediction: prediction + 1.0)
    assert float(plain.residuals[-1]) < 1e-6
    torch.testing.assert_close(refined.residuals, plain.residuals)
    torch.testing.assert_close(refined.value, plain.value - STEP.psi / STEP.phi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "as_published", "refined"),
    [
        ([0.0, 0.0, 1.0], False, [2]),
        ([0.0, 0.5, 0.5], False, [1, 2]),
        ([0.5, 0.5, 0.0], False, [0, 1]),
        ([0.0, 0.0, 1.0], True, [1, 2, "mean"]),
        ([0.5, 0.5, 0.0], True, [0, 1, 2, "mean"]),
    ],
)
def test_which_predictions_are_refined(weights: list[float], as_published: bool, refined: list[object]) -> None:
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
    plain = solved(STEP, network, z_prev, noise, weights)
    predictions.clear()
    solution = solved(STEP, network, z_prev, noise, weights, refine, refine_as_published=as_published)
    assert seen == refined
    torch.testing.assert_close(solution.value, plain.value)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    z_prev, noise = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    together = solved(STEP, torch.tanh, z_prev, noise, last_of(4))
    for i in range(3):
        alone = solved(STEP, torch.tanh, z_prev[i : i + 1], noise[i : i + 1], last_of(4))
        torch.testing.assert_close(together.value[i : i + 1], alone.value)
        torch.testing.assert_close(together.residuals[:, i : i + 1], alone.residuals)


def test_a_latent_of_zeros_has_finite_residuals_of_zero() -> None:
    solution = solved(Step(1.0, 0.5, 0.0, 1.0), torch.zeros_like, torch.zeros(1, 1, 2, 2), None, [1.0])
    assert float(solution.residuals) == 0.0


def test_a_step_that_cannot_be_inverted_costs_no_pass() -> None:
    def network(z: Tensor) -> Tensor:
        raise AssertionError("the network ran")

    with pytest.raises(SchedulerError):
        solved(Step(0.0, 1.0, 0.0, 1.0), network, torch.zeros(1, 1, 2, 2), None, [1.0])


def test_the_solution_says_which_images_are_near_the_fixed_point() -> None:
    z_prev = torch.ones(2, 1, 2, 2) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)

    def network(z: Tensor) -> Tensor:
        return torch.where(z_prev > 2.0, 4.0 * z, 0.1 * z)  # the second image's iteration diverges

    solution = solved(Step(1.0, 0.5, 0.0, 1.0), network, z_prev, None, last_of(6))
    assert solution.converged.tolist() == [True, False]
    assert solution.converged.tolist() == (solution.residuals[-1] <= CONVERGED).tolist()


def test_a_guided_prediction_costs_two_passes() -> None:
    network = Network(lambda z, step: z.tanh(), cost=2)
    network(torch.ones(1, 1, 2, 2), STEP)
    problem = Problem(STEP, torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), network)
    assert Renoising(2).solve(problem).passes == problem.passes == 6
    assert network.passes == 8


def test_every_pass_is_told_of_with_its_residual() -> None:
    told: list[tuple[int, Tensor, Tensor | None]] = []
    network = Network(
        lambda z, step: z.tanh(), watch=lambda passes, step, z, residual: told.append((passes, z, residual))
    )
    z_prev, noise = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(6))
    solution = Renoising(3).solve(Problem(STEP, z_prev, noise, network))
    assert [passes for passes, _, _ in told] == [1, 2, 3, 4]
    assert torch.equal(told[-1][1], solution.value)
    assert torch.equal(torch.stack([residual for _, _, residual in told if residual is not None]), solution.residuals)


@pytest.mark.parametrize(
    "record", [None, {}, {"name": "magic"}, {"name": ["renoising"]}, {"name": "renoising", "k": 1}]
)
def test_a_record_of_no_known_solver_is_refused(record: object) -> None:
    with pytest.raises(ConfigError, match="solver"):
        solver_from(record)


def test_a_solver_is_recorded_and_restored() -> None:
    solver = Renoising(4, average=(2, 5))
    assert solver_from(json.loads(json.dumps(solver_record(solver)))) == solver


@dataclass(frozen=True)
class Odd:
    """Returns what `made` makes of the plain iteration's solution."""

    made: Callable[[Solution], object]
    max_passes: object = 1

    def solve(self, problem: Problem) -> object:
        return self.made(Renoising(0).solve(problem))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda found: None, "a Solution, not NoneType"),
        (lambda found: found.value, "a Solution, not Tensor"),
        (lambda found: replace(found, value=found.value.double()), "latents torch.float32"),
        (lambda found: replace(found, value=found.value[:, :1]), "latents torch.float32"),
        (
            lambda found: replace(found, residuals=found.residuals[:0]),
            r"residuals \(passes, 1\), not \(0, 1\)",
        ),
        (
            lambda found: replace(found, residuals=found.residuals[0]),
            r"residuals \(passes, 1\), not \(1,\)",
        ),
    ],
)
def test_a_solver_that_returns_no_solution_is_refused(
    editor: Editor, made: Callable[[Solution], object], message: str
) -> None:
    config = InversionConfig(num_steps=2, solver=Odd(made))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"solver must return {message}") as caught:
        editor.invert(latents=torch.ones(1, 4, 16, 16), config=config)
    assert caught.value.argument == "solver"


@pytest.mark.parametrize("solver", ["renoising", 3, Odd, Renoising])
def test_what_is_no_solver_is_refused(solver: object) -> None:
    with pytest.raises(ConfigError, match="solver must be a value with a method solve"):
        InversionConfig(solver=solver)  # type: ignore[arg-type]


def test_a_solver_names_its_most_passes() -> None:
    with pytest.raises(ConfigError, match="max_passes must be a whole number"):
        InversionConfig(solver=Odd(lambda found: found, "many"))  # type: ignore[arg-type]


def test_a_solver_without_a_name_is_not_saved(editor: Editor, tmp_path: Path) -> None:
    config = InversionConfig(num_steps=2, solver=Odd(lambda found: found))  # type: ignore[arg-type]
    inversion = editor.invert(latents=torch.ones(1, 4, 16, 16), config=config)
    with pytest.raises(StorageError, match=r'name it: renoise.solvers.SOLVERS\["Odd"\] = Odd'):
        inversion.save(tmp_path / "i.safetensors")
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Blocks:
    """A made-up solver with settings of several types."""

    sizes: tuple[int, ...] = (1, 2)
    label: str = "two"
    max_passes: int = 2

    def solve(self, problem: Problem) -> Solution:
        return Renoising(1).solve(problem)


def test_settings_of_a_solver_come_back_equal(editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "blocks", Blocks)
    config = InversionConfig(num_steps=2, solver=Blocks((3, 4)))
    editor.invert(latents=torch.ones(1, 4, 16, 16), config=config).save(tmp_path / "i.safetensors")
    assert Inversion.load(tmp_path / "i.safetensors").config == config
    monkeypatch.delitem(SOLVERS, "blocks")
    with pytest.raises(StorageError, match="the solver 'blocks' is unknown"):
        Inversion.load(tmp_path / "i.safetensors")
