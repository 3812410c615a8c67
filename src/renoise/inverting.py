"""One inversion: the network, the edit losses and the noises brought together, and the walk from z_0 to z_T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.backbones import Request
from renoise.config import InversionConfig
from renoise.enhancement import Enhancement
from renoise.model import Model, place
from renoise.progress import Callback, Reporter
from renoise.steps import Step
from renoise.walks import invert_steps


@dataclass(frozen=True, eq=False)
class Inverted:
    """What a walk up found, in sampling order (index 0 is the noisiest step) but for the trajectory.

    Attributes:
        latents: z_T, float32 (B, C, h, w).
        noise: the noises, corrected if the settings say so, (num_steps, B, C, h, w); None for a deterministic sampler.
        residuals: of each step the residuals of its passes, (passes, B).
        trajectory: z_0 .. z_T, (num_steps + 1, B, C, h, w); None unless asked for.
        passes: the network passes for each image.
    """

    latents: Tensor
    noise: Tensor | None
    residuals: tuple[Tensor, ...]
    trajectory: Tensor | None
    passes: int


def invert(
    model: Model,
    steps: Sequence[Step],
    request: Request,
    config: InversionConfig,
    z_0: Tensor,
    noises: Tensor | None,
    generators: Sequence[torch.Generator],
    progress: Callback | None = None,
    keep_trajectory: bool = False,
) -> Inverted:
    """Walk up from the clean latents.

    Args:
        model: runs the network.
        steps: the sampler's steps in sampling order.
        request: what the images show.
        config: the settings.
        z_0: the clean latents, float32 (B, C, h, w).
        noises: the sampler's noises, (len(steps), B, C, h, w); None for a deterministic sampler.
        generators: one for each image.
        progress: called after each network pass.
        keep_trajectory: keep z_0 .. z_T.

    Raises:
        SchedulerError: if a step cannot be inverted.
        NumericalError: if the iteration diverges to NaN or infinity.
    """
    residuals: list[Tensor] = []
    corrected: list[Tensor] = []
    trajectory = [z_0]
    latents = z_0
    with model.freeing():
        condition = model.condition(request)
        bound = sum(config.passes_at(s.timestep, stochastic=s.stochastic) for s in steps) * condition.passes
        network = model.network(condition, steps, Reporter(progress, "invert", steps[::-1], bound))
        enhancement = None
        if config.edit_losses is not None:
            enhancement = Enhancement(config.edit_losses, z_0, network, generators)
        for walked in invert_steps(steps, network, z_0, noises, config, enhancement):
            latents = walked.latents
            model.require_finite(latents, f"the latent inverted {place(walked.step, steps)}")
            residuals.insert(0, walked.solution.residuals)
            if walked.noise is not None:
                corrected.insert(0, walked.noise)
            if keep_trajectory:
                trajectory.append(latents)
    stochastic = any(step.stochastic for step in steps)
    return Inverted(
        latents,
        torch.stack(corrected) if stochastic else None,
        tuple(residuals),
        torch.stack(trajectory) if keep_trajectory else None,
        network.passes,
    )
