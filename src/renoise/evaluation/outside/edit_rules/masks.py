"""An automatic mask: what a rule changes counts where the predictions disagree, and the source's walk elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from renoise.edit_rules import EditRule, EditStep, PlainSampling, require_rule
from renoise.evaluation.outside.edit_rules.disagreement import Disagreement, require_disagreement

PLAIN = PlainSampling()
OTSU = Disagreement()


@dataclass(frozen=True)
class AutomaticMask:
    """Another rule's step inside a mask that the predictions make, and the source's walk outside it.

    DiffEdit (Couairon et al., 2022, arXiv 2210.11427) makes a mask from the mean difference of the two predictions and
    blends with the source's latents at every step. LEDITS++ (Brack et al., 2024, arXiv 2311.16711) makes one at each
    step, from the largest differences; its second mask is attention's and has no counterpart here.

        z_{t-1} = (1 - M) z_{s,t-1} + M rule(z_t)

    Attributes:
        rule: makes the step inside the mask.
        where: makes the mask.

    Raises:
        ConfigError: if these are none.

    Examples:
        >>> AutomaticMask(where=Disagreement("quantile", quantile=0.7)).max_passes
        1
    """

    rule: EditRule = PLAIN
    where: Disagreement = OTSU

    def __post_init__(self) -> None:
        require_rule(self.rule)
        require_disagreement(self.where)

    @property
    def max_passes(self) -> int:
        """As many as the rule inside asks for: its prediction at z_t makes the mask as well."""
        return self.rule.max_passes

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}.

        Raises:
            ConfigError: if the source's walk is not known.
        """
        source, prediction = at.required_source(), at.predict(at.z)
        mask = self.where.mask(at, prediction, self)

        def known(z: Tensor) -> Tensor:
            return prediction if z is at.z else at.predict(z)

        return torch.lerp(source.end, self.rule.advance(replace(at, predict=known)), mask)
