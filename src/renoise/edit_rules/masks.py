"""Let an edit change only what a mask allows, whatever its rule is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.checks import is_finite
from renoise.edit_rules.base import EditRule, EditStep, TellingRule, require_rule
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen


@dataclass(frozen=True, eq=False)
class Masked:
    """Walk with the source where a mask is 0, by a rule where it is 1, and between the two where it lies between.

    A place with the mask M moves on from where it stands by (1 - M) times the source's prediction and M times the
    rule's step: z_{t-1} = lerp(z_s,t-1 + phi (z_t - z_s,t), rule's z_{t-1}, M). Where M is 0 or 1 everywhere it is
    blended latent diffusion (Avrahami et al., 2023, arXiv 2206.02779): z_{t-1} = lerp(z_s,t-1, rule's z_{t-1}, M). That
    rule mixes latents, and where M lies between the two its result is neither image. Mixed predictions lead on to one
    that is (docs/editing.md has the numbers).

    Args:
        rule: makes the steps of the edit.
        mask: M in [0, 1], of a shape that broadcasts to the latents (B, C, h, w).

    Raises:
        ConfigError: if the rule is none, or the mask has other values.

    Examples:
        >>> from renoise.edit_rules import KeepStructure
        >>> left = torch.tensor([1.0, 0.0]).repeat_interleave(8).expand(1, 1, 16, 16)
        >>> Masked(KeepStructure(0.7), left).max_passes
        1
    """

    rule: EditRule
    mask: Tensor

    def __post_init__(self) -> None:
        require_rule(self.rule)
        plain = isinstance(self.mask, Tensor) and self.mask.is_floating_point() and self.mask.ndim == 4
        if not plain or not self.mask.numel():
            raise ConfigError(Argument("mask"), f" must be a floating-point tensor (B, 1, h, w), not {seen(self.mask)}")
        if not is_finite(self.mask) or float(self.mask.min()) < 0.0 or float(self.mask.max()) > 1.0:
            raise ConfigError(Argument("mask"), " must lie in [0, 1] everywhere")

    @property
    def max_passes(self) -> int:
        """As many predictions a step as the rule asks for."""
        return self.rule.max_passes

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}.

        Raises:
            ConfigError: if the source's walk is not known.
        """
        source, own = at.required_source(), self.mask.shape
        if any(side not in (1, full) for side, full in zip(own, at.z.shape, strict=True)):
            raise ConfigError(Argument("mask"), f" {tuple(own)} does not fit latents {tuple(at.z.shape)}")
        edited = self.rule.advance(at)
        kept = source.end + at.step.phi * (at.z - source.start)
        return torch.lerp(kept, edited, self.mask.to(edited.device, edited.dtype))

    def changed(self, memory: Mapping[Hashable, Tensor]) -> Tensor:
        """Return how far each place could change, by the rule and by the mask, (B, 1, h, w).

        Raises:
            ConfigError: if the rule cannot tell.
        """
        if not isinstance(self.rule, TellingRule):
            raise ConfigError(Argument("rule"), f" {seen(self.rule)} cannot tell where it changes an image")
        could = self.rule.changed(memory)
        return could * self.mask.to(could.device, could.dtype)
