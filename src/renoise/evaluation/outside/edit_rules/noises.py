"""Release what an inversion found beyond the model's prediction, everywhere or where the predictions disagree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, ones_like

from renoise.edit_rules import EditStep
from renoise.edit_rules.structure import released
from renoise.evaluation.outside.edit_rules.disagreement import Disagreement, require_disagreement
from renoise.ranges import number, store

# The mask rises from 0 at a quarter of the 90 % quantile to 1 at three quarters of it.
RAMP = Disagreement("quantile", quantile=0.9, share=0.5, softness=1.0, floor=0.05, squared=True, mean=False)


@dataclass(frozen=True)
class ReleasedNoises:
    """Keep a share of what makes the noises exact.

    A noise that makes a step exact is the sampler's own, `ideal`, and a residual that the model did not predict. With
    lambda for `keep` a step takes

        n' = ideal + (1 - (1 - lambda) M) (n - ideal)

    and the same share of the offset of a step without noise. It is an earlier rule of this project.

    Attributes:
        keep: the share lambda that is kept where M = 1, in [0, 1].
        where: makes M; None releases everywhere, where the target is the source as well.

    Raises:
        ConfigError: for a setting out of its range.
    """

    keep: float = 0.0
    where: Disagreement | None = RAMP

    def __post_init__(self) -> None:
        if self.where is not None:
            require_disagreement(self.where)
        store(self, keep=number(self.keep, "keep", 0.0, 1.0))

    @property
    def max_passes(self) -> int:
        """One prediction a step."""
        return 1

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}.

        Raises:
            ConfigError: if the source's walk is not known.
        """
        source, prediction = at.required_source(), at.predict(at.z)
        mask = ones_like(prediction) if self.where is None else self.where.mask(at, prediction, self)
        return released(at, source, prediction, 1.0 - (1.0 - self.keep) * mask)
