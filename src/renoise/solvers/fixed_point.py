"""Iterations towards the fixed point, put together from a start, an update and a stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from renoise.solvers.problem import CONVERGED, Problem, Solution, require_part
from renoise.solvers.starts import CleanerLatent, Start
from renoise.solvers.stops import Passes, Stop
from renoise.solvers.updates import Anderson, Update

# An estimate whose residual is so many times the best one is given up: the iteration goes back to the best estimate and
# takes half the step from there.
_TOO_FAR = 2.0
# The last estimate, which no pass has evaluated, is taken after so many passes in a row that were the best so far.
_STEADY = 2


@dataclass(frozen=True)
class FixedPoint:
    """An iteration of z = g(z) with a rule for its start, its moves and its end.

    Each image is solved by itself, and leaves the batch when it is done. While its passes get better and better, it
    ends in the estimate to which the last one led. If one of the last two passes was not the best so far, moves cannot
    be trusted, and it ends in the best estimate that was evaluated: never in one that is known to be worse.

    Attributes:
        start: gives the first estimate.
        update: makes the next estimate.
        stop: says when an image is done.

    Raises:
        ConfigError: if one of them is none.

    Examples:
        >>> import torch
        >>> from renoise.network import Network
        >>> from renoise.steps import Step
        >>> step = Step(phi=1.0, psi=0.5, rho=0.0, timestep=500.0)
        >>> problem = Problem(step, torch.ones(1, 1, 1, 1), None, Network(lambda z, step: 0.5 * z))
        >>> solution = FixedPoint(stop=Passes(3)).solve(problem)
        >>> round(float(solution.value), 4), solution.passes  # z = 1 - 0.25 z, for which `Renoising` takes ten passes
        (0.8, 3)
    """

    start: Start = field(default_factory=CleanerLatent)
    update: Update = field(default_factory=Anderson)
    stop: Stop = field(default_factory=lambda: Passes(6))

    def __post_init__(self) -> None:
        for name, kind in (("start", Start), ("update", Update), ("stop", Stop)):
            require_part(getattr(self, name), name, kind)

    @property
    def max_passes(self) -> int:
        """The most passes of one image."""
        return self.stop.most

    def solve(self, problem: Problem) -> Solution:
        """Solve for z_t; edit enhancement is applied to the prediction that makes the step exact.

        Args:
            problem: the step to invert.
        """
        import torch

        from renoise.checks import require_made

        z = self.start.start(problem)
        require_made("start", "start", z, problem.z_prev)
        count = len(z)
        value, best = z.clone(), torch.full((count,), torch.inf, device=z.device)
        history: list[torch.Tensor] = []
        # Of the images that are still iterated: the last estimate that was gone on from, the best one, the moves from
        # both, how far moves are trusted, and how often in a row they led astray, and to a better estimate.
        rows = list(range(count))
        base = best_z = z
        move = best_move = torch.zeros_like(z)
        trust, astray, onward = torch.ones_like(best), torch.zeros_like(best), torch.zeros_like(best)
        memory = self.update.begin()
        while rows:
            tried = problem.evaluate(z, None if len(rows) == count else rows)
            history.append(_spread(tried.residual, rows, count))
            before, found = best[rows], tried.value - z
            if len(history) > 1:
                memory.learn(z - base, found - move)
            better, lost = tried.residual < before, ~(tried.residual <= _TOO_FAR * before)
            best[rows] = torch.where(better, tried.residual, before)
            best_z, best_move = _where(better, z, best_z), _where(better, found, best_move)
            astray = torch.where(lost, astray + 1, torch.zeros_like(astray))
            onward = torch.where(better, onward + 1, torch.zeros_like(onward))
            trust = torch.where(lost, trust / 2, trust)
            memory.forget((astray > 1) | ~torch.isfinite(tried.residual))
            base, move = _where(lost, best_z, z), _where(lost, best_move, found)
            z = memory.next(base, move, trust)
            done = self.stop.reached(len(history), tried.residual * problem.contraction)
            done = done | (len(history) >= self.stop.most)
            if bool(done.any()):
                ended = done.nonzero().flatten()
                trusted = onward >= min(_STEADY, len(history))
                value[[rows[i] for i in ended.tolist()]] = _where(trusted, z, best_z)[ended]
                left = ~done
                rows = [row for row, on in zip(rows, left.tolist(), strict=True) if on]
                z, base, move, best_z, best_move = (t[left] for t in (z, base, move, best_z, best_move))
                trust, astray, onward = trust[left], astray[left], onward[left]
                memory.keep(left)
        if problem.refine is not None and (exact := problem.prediction_at(value)) is not None:
            value = problem.invert(problem.refine(value, exact))
        return Solution(value, torch.stack(history), problem.passes, best <= CONVERGED, best)


def _where(images: Any, then: Any, otherwise: Any) -> Any:
    """Return one latent or the other for each image, by a boolean (B,)."""
    import torch

    return torch.where(images.view(-1, 1, 1, 1), then, otherwise)


def _spread(residual: Any, rows: list[int], count: int) -> Any:
    """Return the residuals of some images as a row for all, with NaN for the others."""
    whole = residual.new_full((count,), float("nan"))
    whole[rows] = residual
    return whole
