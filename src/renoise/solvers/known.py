"""What a walk knows before it solves a step, and how predictions are continued from the steps before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step

# A latent with less than this share of noise is taken for a clean one, whose logarithm would be infinite.
_LEAST_SHARE = 1e-12


@dataclass(frozen=True, eq=False)
class Accepted:
    """A step that a walk has inverted, with the prediction that makes it exact.

    Attributes:
        step: the sampler step.
        prediction: the m for which the step leads from the accepted z_t to z_{t-1}, (B, C, h, w).
    """

    step: Step
    prediction: Tensor


@dataclass(frozen=True, eq=False)
class Known:
    """What a walk knows before it solves a step.

    Attributes:
        image: the clean latents z_0, (B, C, h, w).
        noise: unit noise of their shape, by which they can be noised up to the step's level; None where a deterministic
            sampler has no noise yet.
        accepted: the inverted steps, the last one first.
    """

    image: Tensor
    noise: Tensor | None
    accepted: tuple[Accepted, ...] = ()

    def of(self, images: Sequence[int]) -> Known:
        """Return what is known of some of the images."""
        accepted = tuple(Accepted(node.step, node.prediction[images]) for node in self.accepted)
        return Known(self.image[images], None if self.noise is None else self.noise[images], accepted)

    def before(self, step: Step, count: int) -> list[Accepted]:
        """Return the last steps that were inverted before one, as many as asked for, at different places."""
        nodes: list[Accepted] = []
        taken = {_place(step)}
        for node in self.accepted:
            if len(nodes) < count and _place(node.step) not in taken:
                taken.add(_place(node.step))
                nodes.append(node)
        return nodes


def continued(nodes: Sequence[Accepted], step: Step) -> Tensor:
    """Return the prediction at a step, by Lagrange's polynomial through those of other steps (see `_place`)."""
    import torch

    total = torch.zeros_like(nodes[0].prediction)
    for weight, node in zip(weights([node.step for node in nodes], step), nodes, strict=True):
        total = total + weight * node.prediction
    return total


def weights(nodes: Sequence[Step], step: Step) -> list[float]:
    """Return the weights that the predictions at some steps have in the one at another, which sum to one."""
    place, at = _place(step), [_place(node) for node in nodes]
    return [
        math.prod((place - other) / (own - other) for j, other in enumerate(at) if j != i) for i, own in enumerate(at)
    ]


def _place(step: Step) -> float:
    """Return where a step stands on the line along which predictions are continued: the logarithm of its noise's share.

    Of the timestep, the noise level, the angle between signal and noise, and their logarithms, it predicts best at the
    clean end of every schedule, and equally well elsewhere (docs/performance.md).
    """
    return math.log(max(step.noise_share, _LEAST_SHARE))
