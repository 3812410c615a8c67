"""Keep of the source what its structure shows to have survived: this project's rule for edits.

A noise that makes a step exact holds two things: what the sampler drew, and what the model did not predict of the
source. The second, r = m_0 - m_s with m_0 for the prediction whose clean latent is z_0 itself, is the image's own: its
outlines, its texture, its identity. An edit needs it where the source survives, and it is a ghost where something new
stands. The clean latents that the two predictions imply tell which: where they have the same structure, r is kept, and
elsewhere it is released.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from renoise.edit_rules.base import EditStep, SourceStep
from renoise.ranges import number, store
from renoise.steps import Step

# How much an edit changes unless it is told (docs/editing.md has the measurements).
DEFAULT_STRENGTH = 0.7
# The side of the latents for which the rule was chosen. Larger ones are looked at in as many blocks.
SIDE = 16
# What keeps flat parts from deciding, for each channel: they have the same structure.
_FLAT = 0.005
# From this structure on, all is kept: so predictions that are equal but for rounding keep everything.
_WHOLE = 0.98
# The quantile of the differences by which an image measures them, and the least that it is taken for.
_MOST, _LEAST = 0.9, 0.1
# Under what a rule remembers the share that it kept.
_KEPT = "kept"


def structure(a: Tensor, b: Tensor) -> Tensor:
    """Return how far two latents have the same structure at each place.

    It is the product of the contrast and the structure term of SSIM (Wang et al., 2004), with the moments of all
    channels added up, in windows of 3 x 3 blocks (see `windowed`).

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
    mean_a, mean_b = windowed(a), windowed(b)
    spread = (windowed(a * a) - mean_a**2 + windowed(b * b) - mean_b**2).sum(1, keepdim=True)
    shared = (windowed(a * b) - mean_a * mean_b).sum(1, keepdim=True)
    flat = _FLAT * a.shape[1]
    return enlarged(((2.0 * shared + flat) / (spread + flat)).clamp(0.0, 1.0), a)


def disagreement(a: Tensor, b: Tensor) -> Tensor:
    """Return where two latents disagree, by the image's own measure.

    The root mean square of their difference over the channels, in the same windows as for `structure`, is 0 up to a
    quarter of its 90 % quantile over the image, and 1 from three quarters of it on. The quantile is at least 0.1, so
    that equal latents disagree nowhere.

    Args:
        a: latents (B, C, h, w).
        b: latents of the same shape.

    Returns:
        (B, 1, h, w) in [0, 1].

    Examples:
        >>> a, b = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
        >>> b[..., :8] = 1.0
        >>> where = disagreement(a, b)
        >>> where[0, 0, 0, 0].item(), where[0, 0, 0, 15].item(), disagreement(a, a).max().item()
        (1.0, 0.0, 0.0)
    """
    apart = windowed((a - b).square().mean(1, keepdim=True).sqrt())
    most = apart.flatten(1).quantile(_MOST, dim=1).clamp_min(_LEAST)[:, None, None, None]
    return enlarged((2.0 * apart / most - 0.5).clamp(0.0, 1.0), a)


def windowed(values: Tensor) -> Tensor:
    """Return the means of values (B, C, h, w) in windows of 3 x 3 blocks, a value for each block.

    A block is one latent of 16 x 16, and as much of the image in larger latents, so that a window shows the same part
    of the image at every size.
    """
    block = max(1, round(min(values.shape[-2:]) / SIDE))
    pooled = avg_pool2d(values, block, ceil_mode=True, count_include_pad=False)
    return avg_pool2d(pooled, 3, stride=1, padding=1, count_include_pad=False)


def enlarged(blocks: Tensor, latents: Tensor) -> Tensor:
    """Return a map with a value for each block in the size of the latents (B, C, h, w), interpolated between them."""
    size = latents.shape[-2:]
    return blocks if blocks.shape[-2:] == size else interpolate(blocks, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Parts:
    """A source's step in two parts: what the model predicts of the image, and what it does not.

    The step from the source's latent with `predicted + unpredicted` and `noise` leads to its next latent exactly.

    Attributes:
        predicted: the network's own prediction m_s, (B, C, h, w).
        unpredicted: what it lacks, r, in the prediction's units, (B, C, h, w): with it a stochastic step's clean latent
            is the image z_0 itself, and a step without noise leads where the source goes.
        noise: the noise that is left, of the sampler alone, (B, C, h, w); None for a step without noise.
    """

    predicted: Tensor
    unpredicted: Tensor
    noise: Tensor | None


def parts(step: Step, source: SourceStep) -> Parts:
    """Part the source's step into what the model predicts of the image, what it does not, and the sampler's noise."""
    if not step.stochastic:
        lacking = torch.zeros_like(source.prediction) if source.offset is None else source.offset
        return Parts(source.prediction, lacking, None)
    knowing = (source.image - step.x0_z * source.start) / step.x0_m
    noise = step.noise_for(source.end, source.start, knowing)
    return Parts(source.prediction, knowing - source.prediction, noise)


def released(at: EditStep, source: SourceStep, prediction: Tensor, keep: Tensor, share: float = 1.0) -> Tensor:
    """Return the edit's next latent with a share of what the model did not predict of the source.

    The prediction becomes w (m + keep r) + (1 - w) m_e, where m_e implies the noise at the edit's latent that m_s + r
    implies at the source's: w = 0 is the source's own step, and w = 1 the target's. Blending the noises is what serves
    every kind of prediction. A velocity of another latent says little: blending those as they are loses 1.6 dB with the
    bundled model seen as a flow of 28 steps.

    Args:
        at: the edit's step.
        source: the source's walk.
        prediction: the target's prediction m, (B, C, h, w).
        keep: the share that is kept of what the model did not predict, in [0, 1], broadcast to that shape.
        share: the share w of the target in the prediction, in [0, 1].
    """
    step, own = at.step, parts(at.step, source)
    known = own.predicted + own.unpredicted
    if step.eps_m != 0.0:  # with zero terminal SNR all latents are the same noise, whatever is predicted
        known = known - step.eps_z / step.eps_m * (at.z - source.start)
    return step.apply(at.z, torch.lerp(known, prediction + keep * own.unpredicted, share), own.noise)


@dataclass(frozen=True)
class AtStrength(ABC):
    """A rule that keeps a share of what the model did not predict, and blends with the source by its strength.

    Attributes:
        strength: how much changes, in [0, 1]: 0 is the source itself.

    Raises:
        ConfigError: for a setting out of its range.
    """

    strength: float = DEFAULT_STRENGTH

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
        source = at.required_source()
        if self.strength == 0.0:
            at.memory[self, _KEPT] = torch.ones_like(at.z[:, :1])
            return source.end
        prediction = at.predict(at.z)
        keep = at.memory[self, _KEPT] = self.kept(at, source, prediction)
        return released(at, source, prediction, keep, self.strength)

    @abstractmethod
    def kept(self, at: EditStep, source: SourceStep, prediction: Tensor) -> Tensor:
        """Return the share that is kept of what the model did not predict, (B, 1, h, w) in [0, 1].

        Args:
            at: the edit's step.
            source: the source's walk.
            prediction: the target's prediction, (B, C, h, w).
        """

    def changed(self, memory: Mapping[Hashable, Tensor]) -> Tensor:
        """Return how far each place could change at the last step, (B, 1, h, w)."""
        return 1.0 - memory[self, _KEPT]


@dataclass(frozen=True)
class KeepStructure(AtStrength):
    """Keep the source's own where its structure survives, and release it elsewhere.

    The clean latents that the two predictions imply have the structure c in common (see `structure`), averaged over
    the steps so far, and disagree where M says (see `disagreement`). What the model did not predict is kept to the
    share c^p (1 - M / 2), and the target's share in the prediction is w:

        w = s,      p = s / (3 (1 - s))

    for the strength s. So p grows from 0, which asks for no structure, to infinity, which keeps only what has wholly
    the same.

    Attributes:
        strength: how much changes, in [0, 1]: 0 is the source itself, and 1 what the target prompt would have.

    Raises:
        ConfigError: for a setting out of its range.

    Examples:
        >>> KeepStructure(0.75).power
        1.0
    """

    @property
    def power(self) -> float:
        """The power p of the structure."""
        return self.strength / (3.0 * (1.0 - self.strength)) if self.strength < 1.0 else math.inf

    def kept(self, at: EditStep, source: SourceStep, prediction: Tensor) -> Tensor:
        """Return c^p (1 - M / 2); see `AtStrength`."""
        step = at.step
        clean = step.x0_z * at.z + step.x0_m * prediction
        own = step.x0_z * source.start + step.x0_m * source.prediction
        alike, before = structure(clean, own), at.memory.get(self)
        alike = at.memory[self] = alike if before is None else before + (alike - before) / (at.index + 1)
        return (alike / _WHOLE).clamp(max=1.0) ** self.power * (1.0 - 0.5 * disagreement(clean, own))


@dataclass(frozen=True)
class KeepNothing(AtStrength):
    """Release everywhere what the model did not predict of the source.

    Attributes:
        strength: the share of the target in the prediction, in [0, 1]: 0 is the source itself.

    Raises:
        ConfigError: for a setting out of its range.
    """

    def kept(self, at: EditStep, source: SourceStep, prediction: Tensor) -> Tensor:
        """Return 0 everywhere; see `AtStrength`."""
        return torch.zeros_like(at.z[:, :1])
