"""Problems with known solutions, and a network that counts its calls image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from renoise.network import Network
from renoise.solvers import Problem
from renoise.steps import Step

# A step for which g(z) = z_prev - m(z).
STEP = Step(phi=1.0, psi=1.0, rho=0.0, timestep=500.0)


class Counted:
    """Maps of single images as a network: m of image i is `maps[i]`, and its calls are counted.

    Attributes:
        calls: how often each image was evaluated.
    """

    def __init__(self, maps: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self._maps = maps
        self.calls: Counter[int] = Counter()
        self.network = Network(self._all, predict_each=self._each)

    def problem(self, z_prev: Tensor) -> Problem:
        """The problem that these maps pose."""
        return Problem(STEP, z_prev, None, self.network)

    def _all(self, z: Tensor, step: Step) -> Tensor:
        return self._each(z, [step] * len(z), range(len(z)))

    def _each(self, z: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        self.calls.update(images)
        return torch.cat([self._maps[i](one.unsqueeze(0)) for i, one in zip(images, z, strict=True)])


def drawn(count: int, seed: int = 0, side: int = 4) -> Tensor:
    """Latents (count, 2, side, side)."""
    return torch.randn(count, 2, side, side, generator=torch.Generator().manual_seed(seed))


def linear(eigenvalues: Sequence[float], seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A linear map of latents of 32 elements with these eigenvalues, each for an equal share of the directions."""
    basis = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    values = torch.tensor(eigenvalues, dtype=torch.float64).repeat_interleave(32 // len(eigenvalues))
    matrix = basis @ torch.diag(values) @ basis.mT

    def apply(z: Tensor) -> Tensor:
        mapped: Tensor = (z.flatten(1).double() @ matrix).to(z.dtype).view_as(z)
        return mapped

    return apply


def missed(problem: Problem, z: Tensor) -> Tensor:
    """How far the sampler's step from z misses z_{t-1}, by a pass of its own, (B,)."""
    return problem.evaluate(z).residual
