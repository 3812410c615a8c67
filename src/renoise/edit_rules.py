"""Rules by which an edit walks from the noise to the image.

At every sampler step the walk hands an edit rule what it needs and takes the next latent from it. A rule is a frozen
dataclass with a method `advance`; `renoise.Editor.edit` takes one as `rule`. `PlainSampling`, the sampler's step with
the target prompt, is the first. docs/extending.md adds another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class SourceStep:
    """The source's latents around one sampler step, from the trajectory that an inversion kept.

    Attributes:
        start: z_t, where the source stands before the step, (B, C, h, w).
        end: z_{t-1}, where the step leads it, (B, C, h, w).
    """

    start: Tensor
    end: Tensor


@dataclass(frozen=True, eq=False)
class EditStep:
    """What an edit rule is given at one sampler step; B counts images and targets.

    Attributes:
        index: the step's place in sampling order; 0 is the noisiest step.
        num_steps: the number of steps in all.
        step: the sampler's step.
        z: the edit's latent z_t, float32 (B, C, h, w).
        noise: the step's noise, (B, C, h, w); None for a deterministic sampler.
        predict: runs the network with the target prompts, from a latent (B, C, h, w) to its raw output.
        predict_source: runs it with the source prompts.
        source: the source's latents; None where the inversion did not keep its trajectory, or was made in another
            number of steps.
    """

    index: int
    num_steps: int
    step: Step
    z: Tensor
    noise: Tensor | None
    predict: Callable[[Tensor], Tensor]
    predict_source: Callable[[Tensor], Tensor]
    source: SourceStep | None = None


@runtime_checkable
class EditRule(Protocol):
    """A way to walk one step of an edit: a frozen dataclass whose fields are its settings.

    Attributes:
        max_passes: the most predictions that a step asks for, for progress bars.
    """

    @property
    def max_passes(self) -> int:
        """The most predictions that a step asks for."""

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}, float32 (B, C, h, w)."""


@dataclass(frozen=True)
class PlainSampling:
    """The sampler's step with the target prompt and the inversion's noise: what a diffusers pipeline does."""

    @property
    def max_passes(self) -> int:
        """One prediction a step."""
        return 1

    def advance(self, at: EditStep) -> Tensor:
        """Return z_{t-1} = phi z_t + psi m(z_t) + rho n.

        Examples:
            >>> import torch
            >>> step, z = Step(phi=2.0, psi=-1.0, rho=0.0, timestep=500.0), torch.ones(1, 1, 1, 1)
            >>> PlainSampling().advance(EditStep(0, 1, step, z, None, lambda z: z, lambda z: z)).item()
            1.0
        """
        return at.step.apply(at.z, at.predict(at.z), at.noise)
