"""Rules that steer the target's prediction by the source's, and leave the step to another rule.

With m_t for the target's prediction at the edit's latent z, m_s for the source's and d = m_t - m_s, each of them hands
on another prediction in the place of m_t. Where m_t = m_s it is m_s.

m_s is the source's at its own latent, which takes no pass, or at z (`at_edit`), which takes one: d is then the
difference of the prompts alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from renoise.edit_rules import EditRule, EditStep, PlainSampling, require_rule
from renoise.evaluation.outside.edit_rules.disagreement import rescaled
from renoise.ranges import number, store, truth

PLAIN = PlainSampling()
# The constants of the anchoring mask: its steepness, the quantiles of the differences that are its ends, and the side
# of the square that closes it.
_STEEPNESS, _ENDS, _CLOSED = 15.0, (0.05, 0.95), 5


@dataclass(frozen=True)
class Steered(ABC):
    """A rule that hands a steered prediction to another one.

    Attributes:
        rule: takes the step.
        at_edit: take the source's prediction at the edit's latent, for as many passes again.
    """

    rule: EditRule = PLAIN
    at_edit: bool = False

    def __post_init__(self) -> None:
        require_rule(self.rule)
        store(self, at_edit=truth(self.at_edit, "at_edit"))

    @property
    def max_passes(self) -> int:
        """As many as the rule that takes the step, and twice as many with the source's at the edit's latent."""
        return (1 + self.at_edit) * self.rule.max_passes

    @abstractmethod
    def steer(self, at: EditStep, target: Tensor, source: Tensor) -> Tensor:
        """Return what takes the place of the target's prediction, (B, C, h, w).

        Args:
            at: the edit's step.
            target: the target's prediction, (B, C, h, w).
            source: the source's.
        """

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}.

        Raises:
            ConfigError: if the source's walk is not known, and its own predictions are asked for.
        """
        own = None if self.at_edit else at.required_source().prediction

        def steered(z: Tensor) -> Tensor:
            target = at.predict(z)
            return self.steer(at, target, at.predict_source(z) if own is None else own)

        return self.rule.advance(replace(at, predict=steered))


@dataclass(frozen=True)
class Gain(Steered):
    """Take more of the difference: m = m_s + weight d.

    TurboEdit (Deutch et al., 2024, arXiv 2408.00735) does it with about 1.5 in few steps, at the edit's latent. It is
    guidance with the source prompt for the negative one.

    Attributes:
        weight: the factor of the difference; 1 is none.
    """

    weight: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        store(self, weight=number(self.weight, "weight", 0.0))

    def steer(self, at: EditStep, target: Tensor, source: Tensor) -> Tensor:
        """Return m_s + weight d."""
        return source + self.weight * (target - source)


@dataclass(frozen=True)
class Fusion(Steered):
    """Fuse the two predictions where they differ: m = M m_t + (1 - M) m_s + omega (1 + M) d.

    UniEdit-Flow (arXiv 2504.13109), whose authors take the source's at the edit's latent, omega = 5 and 0.6 to 0.8 of
    the schedule. M is the channel mean of d, from its smallest value to its largest: for predictions of noise its sign
    says nothing about the size of a change.

    Attributes:
        omega: the factor of the difference beside the fusion.
    """

    omega: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        store(self, omega=number(self.omega, "omega", 0.0))

    def mask(self, target: Tensor, source: Tensor) -> Tensor:
        """Return M, (B, 1, h, w) in [0, 1]; 0 for equal predictions."""
        return rescaled((target - source).mean(1, keepdim=True), 0.0, 1.0)

    def steer(self, at: EditStep, target: Tensor, source: Tensor) -> Tensor:
        """Return M m_t + (1 - M) m_s + omega (1 + M) d."""
        apart, mask = target - source, self.mask(target, source)
        return source + (mask + self.omega * (1.0 + mask)) * apart


@dataclass(frozen=True)
class Anchoring(Steered):
    """Anchor the edit to the source: m = m_s + M (1 - s^power) cos(m_t, m_s) d.

    SteerFlow (arXiv 2604.01715), without its segmentation. s is the share of noise in the step's latents, in [0, 1],
    and cos the cosine over the channels at each place. M = sigmoid(15 (n - 1/2)), where n is the length of d over the
    channels between its quantiles of 5 and 95 %, closed by a square of 5 x 5.

    Attributes:
        power: how late the anchor gives way; 5 in the paper.
    """

    power: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        store(self, power=number(self.power, "power", 0.0))

    def mask(self, target: Tensor, source: Tensor) -> Tensor:
        """Return M, (B, 1, h, w) in [0, 1]; below 0.001 for equal predictions."""
        length = rescaled((target - source).norm(dim=1, keepdim=True), *_ENDS)
        grown = max_pool2d(length, _CLOSED, stride=1, padding=_CLOSED // 2)
        closed = -max_pool2d(-grown, _CLOSED, stride=1, padding=_CLOSED // 2)
        return torch.sigmoid(_STEEPNESS * (closed - 0.5))

    def steer(self, at: EditStep, target: Tensor, source: Tensor) -> Tensor:
        """Return m_s + M (1 - s^power) cos(m_t, m_s) d."""
        alike: Tensor = torch.cosine_similarity(target, source, dim=1).unsqueeze(1)
        late = 1.0 - math.pow(at.step.noise_share, self.power)
        return source + late * self.mask(target, source) * alike * (target - source)
