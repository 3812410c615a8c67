"""From the noise z_T down to the clean latent z_0: the sampler forwards, with the inversion's noises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from renoise.inversion import PredictAt
from renoise.steps import Step


@dataclass(frozen=True)
class DenoisedStep:
    """What the walk yields after each step.

    Attributes:
        index: the step's place in sampling order (0 = the noisiest).
        step: its coefficients.
        latents: z_{t-1}, (B, C, h, w).
    """

    index: int
    step: Step
    latents: Tensor


def denoise_steps(
    steps: Sequence[Step], predict: PredictAt, latents: Tensor, noise: Tensor | None
) -> Iterator[DenoisedStep]:
    """Run the sampler from z_T.

    Args:
        steps: the sampler's steps in sampling order.
        predict: the network, from a latent and a step to its raw output.
        latents: z_T, float32 (B, C, h, w).
        noise: (len(steps), B, C, h, w) in sampling order, or None for a deterministic sampler.
    """
    z = latents
    for index, step in enumerate(steps):
        z = step.apply(z, predict(z, step), noise[index] if noise is not None else None)
        yield DenoisedStep(index, step, z)
