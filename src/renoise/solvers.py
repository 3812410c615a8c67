"""Solvers of the implicit equation z = g(z) that one inverted sampler step poses.

Given z_{t-1}, the noisier latent z_t satisfies z_t = g(z_t) with

    g(z) = (z_{t-1} - psi m(z, t, c) - rho n) / phi

A solver is a frozen dataclass with a method `solve`, and `InversionConfig.solver` holds it. It runs the network by
`Problem.evaluate`, where every pass is counted, and returns a `Solution`. `Renoising`, the paper's iteration, is the
first. docs/extending.md adds another one.

The module loads no torch, so that settings can be made and listed without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from renoise.errors import ConfigError, RenoiseError
from renoise.escaping import seen
from renoise.ranges import number, store, whole

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.network import Network
    from renoise.steps import Step

# From a latent (B, C, h, w) and the prediction at it to a better prediction.
Refine = Callable[["Tensor", "Tensor"], "Tensor"]

# The length of a latent to which a residual is relative is at least this: an image's latent is far longer, and a latent
# of zeros shall not make the residual infinite.
SMALLEST_LENGTH = 1e-12
# An image counts as solved for below this residual: above it the iteration was still far from the fixed point.
CONVERGED = 0.1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one network pass says about an estimate z.

    Attributes:
        prediction: m(z), the network's raw output, (B, C, h, w).
        value: g(z), the next estimate of the plain iteration, (B, C, h, w).
        residual: |phi| ||g(z) - z|| / ||z_{t-1}||, (B,): how far the sampler's step from z misses z_{t-1}, relative to
            the length of z_{t-1}.
    """

    prediction: Tensor
    value: Tensor
    residual: Tensor


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of one solve.

    Attributes:
        value: the estimate of z_t, float32 (B, C, h, w).
        residuals: the residual of each pass (see `Evaluation.residual`), (passes, B).
        passes: the network passes that the solve took for each image, guidance included. `Problem.passes` counts them.
        converged: for each image whether its estimate is near the fixed point, boolean (B,).
    """

    value: Tensor
    residuals: Tensor
    passes: int
    converged: Tensor


class Problem:
    """One sampler step to invert.

    Args:
        step: the sampler step.
        z_prev: the cleaner latent z_{t-1}, float32 (B, C, h, w).
        noise: the step's noise n, of the same shape; None for a deterministic step.
        network: the network, which counts its passes.
        refine: edit enhancement of a prediction, from the latent and its prediction; None for none.
        refine_as_published: apply it as the authors' published code does (see `renoise.EditLosses`).

    Raises:
        SchedulerError: if the step cannot be inverted.
    """

    def __init__(
        self,
        step: Step,
        z_prev: Tensor,
        noise: Tensor | None,
        network: Network,
        refine: Refine | None = None,
        *,
        refine_as_published: bool = False,
    ) -> None:
        step.require_invertible()
        self.step = step
        self.z_prev = z_prev
        self.noise = noise
        self.refine = refine
        self.refine_as_published = refine_as_published
        self._network = network
        self._before = network.passes
        self._length = _norm(z_prev).clamp_min(SMALLEST_LENGTH)

    @property
    def passes(self) -> int:
        """The network passes of this problem so far, for each image."""
        return self._network.passes - self._before

    def evaluate(self, z: Tensor) -> Evaluation:
        """Run the network once at an estimate of z_t, (B, C, h, w)."""
        prediction = self._network.run(z, self.step)
        value = self.invert(prediction)
        residual = abs(self.step.phi) * _norm(value - z) / self._length
        self._network.tell(self.step, value, residual)
        return Evaluation(prediction, value, residual)

    def invert(self, prediction: Tensor) -> Tensor:
        """Return the z_t that leads to z_{t-1} if the network's output there is `prediction`, (B, C, h, w)."""
        return self.step.invert(self.z_prev, prediction, self.noise)


def _norm(z: Tensor) -> Tensor:
    import torch

    length: Tensor = torch.linalg.vector_norm(z.flatten(1), dim=1)
    return length


@runtime_checkable
class Solver(Protocol):
    """A way to solve a `Problem`: a frozen dataclass whose fields are its settings: numbers, texts, None, or tuples.

    Attributes:
        max_passes: the most predictions that a solve asks for, for progress bars and lists of what settings cost.
    """

    @property
    def max_passes(self) -> int:
        """The most predictions that a solve asks for."""

    def solve(self, problem: Problem) -> Solution:
        """Solve for z_t."""


@dataclass(frozen=True)
class Renoising:
    """The iteration of ReNoise with weighted averaging (Garibi et al., 2024, arXiv 2403.14602, sections 4.1 and 4.2).

    It iterates g from z^(0) = z_{t-1}. The first pass is plain sampler reversing; each further one is a renoising
    iteration. Where the estimates circle the solution instead of closing in on it, their average lies nearer to it than
    the last one, so that the result is

        z_t = sum_k w_k z^(k),      z^(k) = g(z^(k-1)),      k = 1 .. K + 1

    The iteration converges where g contracts, that is where |psi/phi| times the network's Lipschitz constant is below
    one. With few sampler steps or strong guidance that can fail: read the residuals.

    Attributes:
        iterations: K >= 0, the renoising iterations; the network runs K + 1 times. 0 is plain sampler reversing.
        average: the half-open, 0-based range of predictions that are averaged with equal weights: (7, 10) with K = 9
            averages the last three of ten.
        weights: K + 1 numbers >= 0 in place of a range; they are normalised to sum to one.

    With neither `average` nor `weights` the last prediction alone is used.

    Raises:
        ConfigError: if both are given, or they do not fit the iterations.

    Examples:
        >>> Renoising(iterations=2, average=(1, 3)).resolved_weights()
        (0.0, 0.5, 0.5)
    """

    iterations: int
    average: tuple[int, int] | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        store(self, iterations=whole(self.iterations, "iterations", 0))
        if self.average is not None and self.weights is not None:
            raise ConfigError(
                "Renoising takes either average or weights, not both",
                argument="weights",
                remedy="leave one of them out",
            )
        if self.average is not None:
            store(self, average=self._checked_average(self.average))
        if self.weights is not None:
            store(self, weights=self._checked_weights(self.weights))

    def _checked_average(self, average: Any) -> tuple[int, int]:
        if not isinstance(average, (tuple, list)) or len(average) != 2:
            raise ConfigError(f"average must be a pair (first, end) of prediction indices, not {seen(average)}")
        first, end = (whole(x, "average", 0) for x in average)
        if not first < end <= self.passes:
            raise ConfigError(
                f"average=({first}, {end}) does not fit {self.iterations} iterations, which make the predictions 0 to "
                f"{self.iterations}",
                argument="average",
                remedy=f"use a range within (0, {self.passes})"
                + (f" or at least {end - 1} iterations" if first < end else ", its end above its beginning"),
            )
        return first, end

    def _checked_weights(self, weights: Any) -> tuple[float, ...]:
        if not isinstance(weights, (tuple, list)) or len(weights) != self.passes:
            raise ConfigError(
                f"weights must be {self.passes} numbers, one for each of the {self.iterations} + 1 predictions, "
                f"not {seen(weights)}",
                argument="weights",
            )
        numbers = tuple(number(w, "weights", 0.0) for w in weights)
        if sum(numbers) <= 0.0:
            raise ConfigError(
                "weights must not all be zero", argument="weights", remedy="give weight to at least one prediction"
            )
        return numbers

    @property
    def passes(self) -> int:
        """How often the network runs in one step, K + 1."""
        return self.iterations + 1

    @property
    def max_passes(self) -> int:
        """As many as `passes`, because this solver never stops early."""
        return self.passes

    def resolved_weights(self) -> tuple[float, ...]:
        """Return w_1 .. w_{K+1}, which sum to one."""
        if self.weights is not None:
            return tuple(w / sum(self.weights) for w in self.weights)
        first, end = self.average if self.average is not None else (self.passes - 1, self.passes)
        return tuple(1.0 / (end - first) if first <= k < end else 0.0 for k in range(self.passes))

    def with_iterations(self, iterations: int) -> Renoising:
        """Return the same with another K.

        The average or the weights are kept where they fit K; where they do not, the last prediction alone is used.
        """
        if self.average is not None and self.average[1] <= iterations + 1:
            return Renoising(iterations, average=self.average)
        if self.weights is not None and len(self.weights) == iterations + 1:
            return Renoising(iterations, weights=self.weights)
        return Renoising(iterations)

    def solve(self, problem: Problem) -> Solution:
        """Solve one inverted step by the paper's iteration.

        Args:
            problem: the step to invert. Its refinement is applied to the predictions that have a weight, as the paper
                does. Where it asks for the published code's way, every prediction from the first one with a weight on
                is refined (from the second one where the last alone has a weight), the predictions are averaged as they
                were before, and their average is refined.

        Examples:
            >>> import torch
            >>> from renoise.network import Network
            >>> from renoise.steps import Step
            >>> step = Step(phi=1.0, psi=0.5, rho=0.0, timestep=500.0)
            >>> problem = Problem(step, torch.ones(1, 1, 1, 1), None, Network(lambda z, step: 0.5 * z))
            >>> solution = Renoising(20).solve(problem)
            >>> round(float(solution.value), 4), solution.passes  # z = 1 - 0.25 z
            (0.8, 21)
        """
        import torch

        weights, refine = self.resolved_weights(), problem.refine
        refined = self._refined(weights, as_published=problem.refine_as_published)
        z, residuals = problem.z_prev, []
        value, mean = torch.zeros_like(z), torch.zeros_like(z)
        for k, weight in enumerate(weights):
            tried = problem.evaluate(z)
            residuals.append(tried.residual)
            z_next = tried.value
            if refine is not None and k in refined:
                z_next = problem.invert(refine(z, tried.prediction))
            if weight:
                value = value + weight * z_next
                mean = mean + weight * tried.prediction
            z = z_next
        if refine is not None and problem.refine_as_published:
            value = problem.invert(refine(z, mean))
        return Solution(value, torch.stack(residuals), problem.passes, residuals[-1] <= CONVERGED)

    @staticmethod
    def _refined(weights: tuple[float, ...], *, as_published: bool) -> frozenset[int]:
        """Return the predictions that are refined, by their indices."""
        weighted = [k for k, weight in enumerate(weights) if weight]
        if as_published:
            return frozenset(range(weighted[0] if len(weighted) > 1 else 1, len(weights)))
        return frozenset(weighted)


# Solvers by the names that records of inversions give them. Others may add to it (docs/extending.md).
SOLVERS: dict[str, type[Solver]] = {"renoising": Renoising}


def solver_record(solver: Solver) -> dict[str, Any]:
    """Return a solver as JSON-able data, from which `solver_from` makes an equal one.

    Raises:
        ConfigError: if its class is not in `SOLVERS`, so that nobody could read the record.
    """
    name = next((name for name, known in SOLVERS.items() if type(solver) is known), None)
    if name is None:
        raise ConfigError(
            f"the solver {type(solver).__name__} has no name in records",
            argument="solver",
            remedy=f'name it: renoise.solvers.SOLVERS["{type(solver).__name__}"] = {type(solver).__name__}',
        )
    if not is_dataclass(solver):
        raise ConfigError(f"the solver {name!r} is no dataclass, whose fields could be recorded", argument="solver")
    return {"name": name, **{field.name: getattr(solver, field.name) for field in fields(solver)}}


def solver_from(record: Any) -> Solver:
    """Return the solver that `solver_record` recorded.

    Raises:
        ConfigError: if the record names none that is known, or its settings do not fit it.
    """
    name = record.get("name") if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in SOLVERS:
        raise ConfigError(
            f"the solver {str(name)[:80]!r} is unknown",
            argument="solver",
            remedy="add its class to renoise.solvers.SOLVERS by this name, or invert the image again",
        )
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items() if key != "name"
    }
    try:
        return SOLVERS[name](**settings)
    except RenoiseError:
        raise
    except Exception as error:  # solvers of others check their settings as they like
        raise ConfigError(f"the settings of the solver {name!r} do not fit it ({error})", argument="solver") from error
