"""Edit enhancement during an inversion: how the edit losses refine the predictions of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from renoise.editability import regularise
from renoise.method_settings import EditLosses
from renoise.network import Network
from renoise.noise import draw_noise, separate_streams
from renoise.solvers import Refine
from renoise.steps import Step

# A prediction with less than this share of noise in it says nothing about the noise (v prediction at zero SNR, a flow's
# velocity at s = 1), so that there is nothing to regularise.
SMALLEST_EPS_M = 1e-3


@dataclass(frozen=True, eq=False)
class Enhancement:
    """Makes the refinement of each step's predictions (Garibi et al., 2024, arXiv 2403.14602, section 4.3).

    Attributes:
        losses: the settings.
        z_0: the clean latents, (B, C, h, w).
        network: the network with the source prompts.
        generators: those of the sampler's noises. The reference's noise and the shifts come from separate streams with
            the same seeds, so that noises handed in and noises drawn lead to the same inversion.
    """

    losses: EditLosses
    z_0: Tensor
    network: Network
    generators: Sequence[torch.Generator]

    def refinement(self, step: Step) -> Refine:
        """Return what refines the predictions at `step`.

        If the patch divergence has a weight, its reference costs one prediction.
        """
        reference: Tensor | None = None
        if self.losses.patch_kl:
            noised = step.add_noise(self.z_0, draw_noise(1, self.z_0.shape, self._streams, self.z_0.device)[0])
            reference = step.implied_noise(noised, self.network(noised, step))
        if abs(step.eps_m) < SMALLEST_EPS_M:
            return lambda z, prediction: prediction

        def refine(z: Tensor, prediction: Tensor) -> Tensor:
            eps = regularise(step.implied_noise(z, prediction), reference, self.losses, self._shifts)
            return step.prediction_from(z, eps)

        return refine

    @cached_property
    def _streams(self) -> list[torch.Generator]:
        return separate_streams(self.generators)

    def _shifts(self, highest: Sequence[int], draws: int) -> Tensor:
        """Draw shifts for each image (see `renoise.editability.DrawShifts`).

        All of an image come from one draw below a common multiple of the highest shifts, whose residues are uniform.
        """
        below = math.lcm(*highest)
        drawn = [torch.randint(below, (draws, len(highest)), generator=g) for g in self._streams]
        return 1 + torch.stack(drawn, dim=-1) % torch.tensor(highest).view(1, -1, 1)
