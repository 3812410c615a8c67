"""The implicit equation z = g(z) that one inverted sampler step poses, and what a solver makes of it.

Given z_{t-1}, the noisier latent z_t satisfies z_t = g(z_t) with

    g(z) = (z_{t-1} - psi m(z, t, c) - rho n) / phi

A step that forgets the latent (phi is nearly 0, as in the last step of sample prediction) has no such g. Its equation
is solved by another map with the same solution, z + (alpha_t / alpha_{t-1}) (z_{t-1} - step(z)). Where the network
predicts epsilon it is the same map: both move z as if the noise in it stayed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import made_for
from renoise.solvers.known import Accepted, Known, continued, weights

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
# In a block of steps, predictions are interpolated through so many of those that were accepted before it.
_NODES = 2


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one network pass says about an estimate z; B counts the images that were evaluated.

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
        residuals: the residual of each pass (see `Evaluation.residual`), (passes, B); NaN where an image took part in
            fewer passes than another.
        passes: the network passes that the solve took for each image, guidance included; the most where images took
            different numbers. `Problem.passes` counts them.
        converged: for each image whether its estimate is near the fixed point, boolean (B,).
        residual: the residual of the estimate from which `value` was made, (B,); None is that of the last pass.
    """

    value: Tensor
    residuals: Tensor
    passes: int
    converged: Tensor
    residual: Tensor | None = None

    @property
    def reached(self) -> Tensor:
        """The residual that each image reached, (B,)."""
        return self.residuals[-1] if self.residual is None else self.residual


class Problem:
    """One sampler step to invert, or several at a time.

    Args:
        step: the sampler step.
        z_prev: the cleaner latent z_{t-1}, float32 (B, C, h, w).
        noise: the step's noise n, of the same shape; None for a deterministic step.
        network: the network, which counts its passes.
        refine: edit enhancement of a prediction, from the latent and its prediction; None for none.
        refine_as_published: apply it as the authors' published code does (see `renoise.EditLosses`).
        known: what the walk knows; None makes `start` rules that need it fall back to z_{t-1}.
        below: cleaner steps that are inverted along with `step`, the cleanest first: z_prev is where the first of them
            leads. Their predictions are interpolated between those that were accepted and the one at `step`, so that
            they cost no pass of their own. They must be deterministic.

    Attributes:
        guess: an estimate of z_t to start from, (B, C, h, w); None if there is none.

    Raises:
        SchedulerError: if a step cannot be inverted.
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
        known: Known | None = None,
        below: Sequence[Step] = (),
    ) -> None:
        step.require_solvable()
        for each in below:
            each.require_invertible()
        self.step = step
        self.z_prev = z_prev
        self.noise = noise
        self.refine = refine
        self.refine_as_published = refine_as_published
        self.known = known
        self.below = tuple(below)
        self.guess: Tensor | None = None
        self._network = network
        self._images: list[int] | None = None
        self._before = network.passes_of(range(len(z_prev)))
        self._length = length_of(z_prev).clamp_min(SMALLEST_LENGTH)

    @property
    def passes(self) -> int:
        """The network passes of this problem so far, for the image that took most."""
        now = self._network.passes_of(range(len(self.z_prev)) if self._images is None else self._images)
        return max(after - before for after, before in zip(now, self._before, strict=True))

    def evaluate(self, z: Tensor, rows: Sequence[int] | None = None) -> Evaluation:
        """Run the network once at an estimate of z_t.

        Args:
            z: the estimate, (B, C, h, w), or of some images only.
            rows: which images of the problem these are; None is all of them. The others take no pass.
        """
        prediction = self._network.run(z, self.step, self._of_batch(rows))
        value = self._next(z, prediction, rows)
        residual = abs(self._slope) * length_of(value - z) / _picked(self._length, rows)
        self._network.tell(self.step, value, residual)
        return Evaluation(prediction, value, residual)

    def invert(self, prediction: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return the z_t that leads to z_{t-1} if the network's output there is `prediction`, (B, C, h, w)."""
        z = _picked(self.z_prev, rows)
        for step in self.below:
            z = step.invert(z, self._interpolated(step, prediction, rows))
        return self.step.invert(z, prediction, None if self.noise is None else _picked(self.noise, rows))

    def path(self, prediction: Tensor) -> list[Tensor]:
        """Return the latents that `invert` passes through below z_t, the cleanest first."""
        path, z = [], self.z_prev
        for step in self.below:
            z = step.invert(z, self._interpolated(step, prediction, None))
            path.append(z)
        return path

    def prediction_at(self, z: Tensor) -> Tensor | None:
        """Return the prediction that makes the step from z exact, (B, C, h, w); None if none does."""
        if not self.step.invertible or self.step.psi == 0.0:
            return None
        if not self.below:
            drift = self.step.phi * z if self.noise is None else self.step.phi * z + self.step.rho * self.noise
            return (self.z_prev - drift) / self.step.psi
        # Where `invert` leads is affine in the prediction, with one factor for all elements.
        factor = 0.0
        for step in (*self.below, self.step):
            share = weights([self.step, *(node.step for node in self._nodes(_NODES))], step)[0]
            factor = (factor - step.psi * share) / step.phi
        return None if factor == 0.0 else (z - self.invert(z.new_zeros(()).expand_as(z))) / factor

    def extrapolated(self, order: int) -> Tensor | None:
        """Return the z_t to which the predictions of the inverted steps lead; None where there are none.

        Args:
            order: from so many of the last predictions a polynomial is continued: 1 keeps the last one, 2 continues a
                straight line.
        """
        nodes = self._nodes(order)
        if not nodes or not self.step.invertible:
            return None
        z = self.z_prev
        for step in self.below:
            z = step.invert(z, continued(nodes, step))
        return self.step.invert(z, continued(nodes, self.step), self.noise)

    @cached_property
    def contraction(self) -> float:
        """The share of an error that a pass leaves at most, in [0, 1], if the network draws images as it should.

        From z_t to z_{t-1} a sampler keeps the noise in a latent in the proportion of the noise levels, and all of what
        is image. Reversing it with the prediction of a wrong z misses by the rest.
        """
        from renoise.steps import noise_level

        start = self.step.noise_level
        end = noise_level(*(self.below[0] if self.below else self.step).arrival)
        return 1.0 - end / start if 0.0 <= end < start else 1.0

    def part(self, rows: Sequence[int], guess: Tensor) -> Problem:
        """Return the same problem for some of the images, whose passes are counted as theirs.

        Args:
            rows: the images.
            guess: estimates of their z_t, from which a solver may start.
        """
        part = Problem(
            self.step,
            self.z_prev[rows],
            None if self.noise is None else self.noise[rows],
            self._network,
            below=self.below,
            known=None if self.known is None else self.known.of(rows),
        )
        part.guess = guess
        part._images = self._of_batch(rows)
        part._before = self._network.passes_of(part._images or ())
        return part

    @cached_property
    def _slope(self) -> float:
        """The factor of z_t in z_{t-1} while the prediction stays, or in its place while the noise in it does."""
        if not self.step.invertible:
            return self.step.arrival[0] / self.step.alpha
        slope = self.step.phi
        for step in self.below:
            slope *= step.phi
        return slope

    def _next(self, z: Tensor, prediction: Tensor, rows: Sequence[int] | None) -> Tensor:
        if self.step.invertible:
            return self.invert(prediction, rows)
        noise = None if self.noise is None else _picked(self.noise, rows)
        return z + (_picked(self.z_prev, rows) - self.step.apply(z, prediction, noise)) / self._slope

    def _of_batch(self, rows: Sequence[int] | None) -> list[int] | None:
        """Return which images of the network's batch the images of this problem are."""
        if self._images is None:
            return None if rows is None else list(rows)
        return self._images if rows is None else [self._images[row] for row in rows]

    def _nodes(self, count: int) -> list[Accepted]:
        return [] if self.known is None else self.known.before(self.step, count)

    def _interpolated(self, step: Step, prediction: Tensor, rows: Sequence[int] | None) -> Tensor:
        accepted = (Accepted(node.step, _picked(node.prediction, rows)) for node in self._nodes(_NODES))
        return continued((Accepted(self.step, prediction), *accepted), step)


def _picked(tensor: Tensor, rows: Sequence[int] | None) -> Tensor:
    return tensor if rows is None else tensor[rows]


def require_part(value: Any, name: str, kind: Any) -> None:
    """Check that a part from which a solver is put together is a value of its kind.

    Args:
        value: the part.
        name: the argument by which it came.
        kind: the protocol that it has to fulfil.

    Raises:
        ConfigError: if it does not.
    """
    if isinstance(value, type) or not isinstance(value, kind):
        raise ConfigError(
            Argument(name), f" must be a value like those of renoise.solvers ({kind.__name__}), not {seen(value)}"
        )


def length_of(z: Tensor) -> Tensor:
    """Return the length of each image's latent, (B,)."""
    import torch

    length: Tensor = torch.linalg.vector_norm(z.flatten(1), dim=1)
    return length


@runtime_checkable
class Solver(Protocol):
    """A way to solve a `Problem`: a frozen dataclass whose fields are its settings.

    Settings are numbers, texts, None, tuples, or dataclasses that `renoise.solvers.SOLVERS` names.

    Attributes:
        max_passes: the most predictions that a solve asks for, for progress bars and lists of what settings cost. What
            images take that are tried again because they do not converge comes on top.
    """

    @property
    def max_passes(self) -> int:
        """The most predictions that a solve asks for."""

    def solve(self, problem: Problem) -> Solution:
        """Solve for z_t."""


def require_solver(value: Any) -> None:
    """Check that a value is a solver.

    Raises:
        ConfigError: if it is none.
    """
    made_for(value, Solver, "solver", "a method solve and a number max_passes", "see renoise.solvers.Solver")
