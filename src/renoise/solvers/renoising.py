"""The paper's iteration: renoising with weighted averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from renoise.errors import ConfigError
from renoise.escaping import seen
from renoise.ranges import number, store, whole
from renoise.solvers.problem import CONVERGED, Problem, Solution


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
