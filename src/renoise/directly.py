"""Edits without an inversion: the difference between an edit's latents and the source's is walked down the schedule.

At each step the image x is noised to z_s = alpha x + sigma noise, the edit stands at z_t = z_s + D, and both take the
sampler's step with their own predictions from the same noise. What is left of the noise cancels out of the new
difference. D begins at 0, and the edit is x + D at the end. All of it is in the sampler's own scale.

These are published rules, to compare with edits of an inversion (docs/editing.md has the numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from renoise.checks import require_made
from renoise.network import Network
from renoise.ranges import store, whole
from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class DirectStep:
    """What a direct rule is given at one sampler step; B counts images and targets.

    Attributes:
        index: the step's place in sampling order; 0 is the noisiest step.
        step: the sampler's step.
        difference: D, how far the edit is from the source before the step, float32 (B, C, h, w).
        sources: the noised images z_s, one for each of the rule's draws, (draws, B, C, h, w).
        predict: runs the network with the target prompts, from a latent (B, C, h, w) to its raw output.
        predict_source: runs it with the source prompts.
    """

    index: int
    step: Step
    difference: Tensor
    sources: Tensor
    predict: Callable[[Tensor], Tensor]
    predict_source: Callable[[Tensor], Tensor]

    def apart(self) -> Tensor:
        """Return the mean difference of the two predictions over the draws, (B, C, h, w)."""
        found = [self.predict(z + self.difference) - self.predict_source(z) for z in self.sources]
        return torch.stack(found).mean(0)


@runtime_checkable
class DirectRule(Protocol):
    """A way to walk the difference down one step: a frozen dataclass whose fields are its settings.

    Attributes:
        draws: how many noised images a step looks at, each of which takes a prediction of both prompts.
    """

    @property
    def draws(self) -> int:
        """How many noised images a step looks at."""

    def advance(self, at: DirectStep) -> Tensor:
        """Return the difference after the step, float32 (B, C, h, w)."""


@dataclass(frozen=True)
class FlowEdit:
    """FlowEdit (Kulikov et al., 2024, arXiv 2412.08629, alg. 1): the difference follows that of the two velocities.

    For flow matching, where z_t = (1 - t) x + t noise and m is the velocity, a step is

        D <- D + (t' - t) mean(m(z_s + D, target) - m(z_s, source))

    Other samplers take phi D + psi (m_t - m_s) with the coefficients of their deterministic step. The authors' settings
    are guidance scales of 3.5 and 13.5 and 33 of 50 steps for SD3, 1.5 and 5.5 and 24 of 28 for Flux.

    Attributes:
        draws: how many noises a step averages over, at least 1; n_avg in the paper, where it is 1.

    Raises:
        ConfigError: for a setting out of its range.
    """

    draws: int = 1

    def __post_init__(self) -> None:
        store(self, draws=whole(self.draws, "draws", 1))

    def advance(self, at: DirectStep) -> Tensor:
        """Return the difference after the step, D' = phi D + psi mean(m_t - m_s)."""
        alpha, sigma = at.step.arrival
        plain = at.step.towards(alpha, math.hypot(sigma, at.step.rho))
        return plain.apply(at.difference, at.apart())


@dataclass(frozen=True)
class DDCM:
    """Denoising diffusion consistent models of InfEdit (Xu et al., 2023, arXiv 2312.04965, alg. 2).

    The source's virtual inversion takes the noise that makes its own prediction exact, and the edit the same. So the
    edit's clean latents are those of the image and the difference of the two that the predictions imply,

        D <- alpha' (x0(z_s + D, target) - x0(z_s, source))

    and the step to the next noise level noises both alike, as a latent consistency model does. This is InfEdit without
    its control of attention.

    Attributes:
        draws: how many noises a step averages over, at least 1; 1 in the paper.

    Raises:
        ConfigError: for a setting out of its range.
    """

    draws: int = 1

    def __post_init__(self) -> None:
        store(self, draws=whole(self.draws, "draws", 1))

    def advance(self, at: DirectStep) -> Tensor:
        """Return the difference after the step."""
        return at.step.arrival[0] * (at.step.x0_z * at.difference + at.step.x0_m * at.apart())


def walk_difference(
    steps: Sequence[Step],
    rule: DirectRule,
    network: Network,
    source_network: Network,
    image: Tensor,
    noise: Tensor,
    unchanged: Tensor,
) -> Tensor:
    """Walk the difference down the schedule.

    Args:
        steps: the sampler's steps in sampling order.
        rule: makes the next difference at each step.
        network: the network with the target prompts.
        source_network: the network with the source prompts.
        image: z_0, float32 (B, C, h, w).
        noise: what the image is noised with, (len(steps), draws, B, C, h, w).
        unchanged: which targets ask for nothing but the source, boolean (B,): they stay at a difference of 0.

    Returns:
        D at the end, float32 (B, C, h, w).

    Raises:
        ConfigError: if the rule returns no latents.
    """
    difference = torch.zeros_like(image)
    kept = unchanged.to(image.device)[:, None, None, None]
    for index, step in enumerate(steps):
        sources = step.add_noise(image, noise[index])

        def predict(z: Tensor, step: Step = step) -> Tensor:
            return network(z, step)

        def predict_source(z: Tensor, step: Step = step) -> Tensor:
            return source_network(z, step)

        made = rule.advance(DirectStep(index, step, difference, sources, predict, predict_source))
        require_made("rule", "advance", made, difference)
        difference = made.masked_fill(kept, 0.0)
    return difference
