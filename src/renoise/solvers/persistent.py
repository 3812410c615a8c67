"""Solving again the images that do not converge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import number, store
from renoise.solvers.fixed_point import FixedPoint
from renoise.solvers.problem import CONVERGED, Problem, Solution, Solver, require_solver
from renoise.solvers.starts import LastEstimate
from renoise.solvers.stops import Residual
from renoise.solvers.updates import Anderson, Damped


def _retries() -> tuple[Solver, ...]:
    """Return the solvers that are tried in turn: more iterations, the paper's iteration damped, and smaller steps."""
    stop = Residual(CONVERGED / 4, 12)
    updates = (Anderson(), Damped(0.5), Damped(0.1))
    return tuple(FixedPoint(LastEstimate(), update, stop) for update in updates)


@dataclass(frozen=True)
class Persistent:
    """A solver whose unsolved images are solved again by others, one after the other.

    An image whose residual stays high is found without knowing the truth: the residual says how far the sampler's own
    step misses z_{t-1}. Each retry starts from the best estimate so far, and its result is taken only if its residual
    is lower. The passes of retries are counted as those of the images that they solve. Edit enhancement is left out of
    retries, because it would move their estimates away again.

    Attributes:
        first: solves all images.
        retries: solve in turn what is left; each should start from `LastEstimate`.
        above: an image is left while its residual is above this.

    Raises:
        ConfigError: if one of the solvers is none.
    """

    first: Solver
    retries: tuple[Solver, ...] = field(default_factory=_retries)
    above: float = CONVERGED

    def __post_init__(self) -> None:
        store(self, above=number(self.above, "above", 0.0))
        if not isinstance(self.retries, (tuple, list)):
            raise ConfigError(Argument("retries"), f" must be a tuple of solvers, not {seen(self.retries)}")
        store(self, retries=tuple(self.retries))
        for solver in (self.first, *self.retries):
            require_solver(solver)

    @property
    def max_passes(self) -> int:
        """The most passes of an image that needs no retry."""
        return self.first.max_passes

    def solve(self, problem: Problem) -> Solution:
        """Solve for z_t.

        Args:
            problem: the step to invert.
        """
        import torch

        solution = self.first.solve(problem)
        value, reached = solution.value, solution.reached
        histories = [solution.residuals]
        for solver in self.retries:
            rows = torch.nonzero(~(reached <= self.above)).flatten().tolist()
            if not rows:
                break
            again = solver.solve(problem.part(rows, value[rows]))
            better = [i for i, lower in enumerate((again.reached < reached[rows]).tolist()) if lower]
            value, reached = value.clone(), reached.clone()
            history = reached.new_full((len(again.residuals), len(reached)), float("nan"))
            history[:, rows] = again.residuals
            histories.append(history)
            taken = [rows[i] for i in better]
            value[taken], reached[taken] = again.value[better], again.reached[better]
        if len(histories) == 1:
            return replace(solution, converged=reached <= self.above)
        return Solution(value, torch.cat(histories), problem.passes, reached <= self.above, reached)
