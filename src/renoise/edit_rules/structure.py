"""Keep of the source what its structure shows to have survived: this project's rule for edits.

A noise that makes a step exact holds two things: what the sampler drew, and what the model did not predict of the
source. The second, r = m_0 - m_s with m_0 for the prediction whose clean latent is z_0 itself, is the image's own: its
outlines, its texture, its identity. An edit needs it where the source survives, and it is a ghost where something new
stands. The clean latents that the two predictions imply tell which: where they have the same structure, r is kept, and
elsewhere it is released.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from renoise.edit_rules.base import EditStep, SourceStep
from renoise.ranges import number, store
from renoise.steps import Step

# The side of the latents for which the rule was chosen. Larger ones are looked at in as many blocks.
SIDE = 16
# What keeps flat parts from deciding, for each channel: they have the same structure.
_FLAT = 0.005
# From this structure on, all is kept: so predictions that are equal but for rounding keep everything.
_WHOLE = 0.98


def structure(a: Tensor, b: Tensor) -> Tensor:
    """Return how far two latents have the same structure at each place.

    It is the product of the contrast and the structure term of SSIM (Wang et al., 2004), with the moments of all
    channels added up, in windows of 3 x 3 blocks. A block is one latent of 16 x 16, and as much of the image in larger
    latents, so that a window shows the same part of the image at every size.

    Args:
        a: latents (B, C, h, w).
        b: latents of the same shape.

    Returns:
        (B, 1, h, w) in [0, 1]: 1 for the same structure, 0 for none in common.

    Examples:
        >>> ramp = torch.arange(16.0).expand(1, 4, 16, 16)
        >>> structure(ramp, ramp).min().item(), structure(ramp, -ramp).max().item()
        (1.0, 0.0)
    """
    size = a.shape[-2:]
    block = max(1, round(min(size) / SIDE))

    def mean(values: Tensor) -> Tensor:
        pooled = avg_pool2d(values, block, ceil_mode=True, count_include_pad=False)
        return avg_pool2d(pooled, 3, stride=1, padding=1, count_include_pad=False)

    mean_a, mean_b = mean(a), mean(b)
    spread = (mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2).sum(1, keepdim=True)
    shared = (mean(a * b) - mean_a * mean_b).sum(1, keepdim=True)
    flat = _FLAT * a.shape[1]
    alike = ((2.0 * shared + flat) / (spread + flat)).clamp(0.0, 1.0)
    return alike if block == 1 else interpolate(alike, size, mode="bilinear", align_corners=False)


def unpredicted(step: Step, source: SourceStep) -> Tensor:
    """Return what of the source the model did not predict, r = m_0 - m_s, in units of the prediction.

    m_0 is the prediction whose clean latent is z_0.
    """
    return (source.image - step.x0_z * source.start) / step.x0_m - source.prediction


def released(at: EditStep, source: SourceStep, prediction: Tensor, keep: Tensor) -> Tensor:
    """Return the step with the share `keep` of what the inversion found beyond the model's prediction.

    Args:
        at: the edit's step.
        source: the source's walk.
        prediction: the target's, (B, C, h, w).
        keep: in [0, 1], broadcast to that shape.
    """
    if at.step.stochastic:
        prediction = prediction - (1.0 - keep) * unpredicted(at.step, source)
    elif source.offset is not None:
        prediction = prediction + keep * source.offset
    return at.step.apply(at.z, prediction, at.noise)


@dataclass(frozen=True)
class KeepStructure:
    """Keep the source's own where its structure survives, and release it elsewhere.

    Attributes:
        strength: how much changes, in [0, 1].

    Raises:
        ConfigError: for a setting out of its range.
    """

    strength: float = 0.5

    def __post_init__(self) -> None:
        store(self, strength=number(self.strength, "strength", 0.0, 1.0))

    @property
    def max_passes(self) -> int:
        """One prediction a step."""
        return 1

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}.

        Raises:
            ConfigError: if the source's walk is not known.
        """
        source, step = at.required_source(), at.step
        prediction = at.predict(at.z)
        alike = structure(
            step.x0_z * at.z + step.x0_m * prediction, step.x0_z * source.start + step.x0_m * source.prediction
        )
        # The mean over the steps so far.
        before = at.memory.get(self)
        alike = at.memory[self] = alike if before is None else before + (alike - before) / (at.index + 1)
        return released(at, source, prediction, self._kept(alike))

    def _kept(self, alike: Tensor) -> Tensor:
        power = torch.tensor(self.strength / (1.0 - self.strength)) if self.strength < 1.0 else torch.tensor(1e9)
        return (alike / _WHOLE).clamp(max=1.0) ** power
