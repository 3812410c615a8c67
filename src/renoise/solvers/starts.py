"""Where the solve of a step starts: rules that give the first estimate of z_t.

A rule is a frozen dataclass with a method `start`. What a walk knows reaches it as `Problem.known`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from renoise.ranges import store, whole
from renoise.solvers.problem import Problem, require_part

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Start(Protocol):
    """A rule for the first estimate."""

    def start(self, problem: Problem) -> Tensor:
        """Return the first estimate of z_t, (B, C, h, w)."""


@dataclass(frozen=True)
class CleanerLatent:
    """Starts at z_{t-1}, as the paper does; the first pass is sampler reversing then."""

    def start(self, problem: Problem) -> Tensor:
        """Return z_{t-1}."""
        return problem.z_prev


@dataclass(frozen=True)
class NoisedImage:
    """Starts at the image noised up to the step's own level, where the network expects its input.

    The noise is the one that the walk knows: drawn for the first step, and afterwards the one that the last inverted
    latent holds.
    """

    def start(self, problem: Problem) -> Tensor:
        """Return alpha z_0 + sigma e, or z_{t-1} where no walk knows an e."""
        known = problem.known
        if known is None or known.noise is None:
            return problem.z_prev
        return problem.step.add_noise(known.image, known.noise)


@dataclass(frozen=True)
class Extrapolated:
    """Starts where the predictions of the steps before lead, continued to this step.

    With one pass a step it is the second-order Adams-Bashforth method on the sampler's path; the one-node form is known
    from flow models as Uni-Inv (Jiao et al., 2025, arXiv 2504.13109).

    Attributes:
        order: the number of predictions that are continued as a polynomial: 1 keeps the last one, 2 continues a
            straight line. Where there are fewer, all there are.
        otherwise: where to start at the first step, which has none before it.

    Raises:
        ConfigError: if the order is below 1 or above 3, or `otherwise` is no rule for a start.
    """

    order: int = 2
    otherwise: Start = field(default_factory=CleanerLatent)

    def __post_init__(self) -> None:
        store(self, order=whole(self.order, "order", 1, 3))
        require_part(self.otherwise, "otherwise", Start)

    def start(self, problem: Problem) -> Tensor:
        """Return the z_t to which the continued prediction leads."""
        z = problem.extrapolated(self.order)
        return self.otherwise.start(problem) if z is None else z


@dataclass(frozen=True)
class LastEstimate:
    """Starts where an earlier solve of the same step ended."""

    def start(self, problem: Problem) -> Tensor:
        """Return the problem's guess, or z_{t-1} where there is none."""
        return problem.z_prev if problem.guess is None else problem.guess
