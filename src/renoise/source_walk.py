"""The source's own walk down the schedule, from what an inversion kept: it costs an edit no network pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.edit_rules import SourceStep
from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class SourceWalk:
    """What an inversion kept of the source.

    Attributes:
        steps: the sampler's steps in sampling order.
        trajectory: z_0 .. z_T, (len(steps) + 1, B, C, h, w).
        noise: the noises, (len(steps), B, C, h, w) in sampling order; None for a deterministic sampler.
        offsets: what the predictions of the cleanest steps lack, (K, B, C, h, w); None if they lack nothing.
    """

    steps: Sequence[Step]
    trajectory: Tensor
    noise: Tensor | None = None
    offsets: Tensor | None = None

    @property
    def start(self) -> Tensor:
        """z_T, (B, C, h, w)."""
        return self.trajectory[-1]

    def at(self, index: int) -> SourceStep:
        """Return the walk through one step, given by its place in sampling order."""
        step, left = self.steps[index], len(self.steps) - index
        start, end = self.trajectory[left], self.trajectory[left - 1]
        offset = None
        if self.offsets is not None and left <= len(self.offsets):
            offset = self.offsets[-left]
        if step.psi == 0.0:  # the step leads there whatever the network says
            return SourceStep(start, end, self.trajectory[0], torch.zeros_like(start), offset)
        needed = step.needed(end, start, None if self.noise is None else self.noise[index])
        return SourceStep(start, end, self.trajectory[0], needed if offset is None else needed - offset, offset)
