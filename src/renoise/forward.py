"""The forward inversion of stochastic samplers: draw the noisy latents, and solve for the noises of the steps.

A step with rho > 0 can be made exact by its noise, from any z_t, for one network pass. So the noisy latents are free,
and they are drawn as the sampler's own forward process draws them. A step leads to alpha x0 + s e + rho n, where s e is
what it keeps of the noise e in z_t, so that the noises in neighbouring latents have the correlation c:

    c = s / hypot(s, rho),      e_t = c e_{t-1} + sqrt(1 - c^2) drawn,      z_t = alpha_t z_0 + sigma_t e_t
    n_t = (z_{t-1} - phi z_t - psi m(z_t)) / rho

The noises follow from their latents alone, independently of each other: several run as one batch. Edit-friendly DDPM
inversion (Huberman-Spiegelglas et al., 2024, arXiv 2304.06140, eq. 6) draws its latents independently instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.failing import is_out_of_memory
from renoise.network import Network
from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class Drawn:
    """A step whose noisy latent was drawn.

    Attributes:
        index: its place in sampling order.
        step: the sampler's step.
        z_prev: z_{t-1}, where it has to lead, (B, C, h, w).
        latents: z_t, as drawn, (B, C, h, w).
        noise: what the step's noise would be if the network knew z_0, (B, C, h, w): unit noise, as the chain drew it;
            0 for a step without noise.
    """

    index: int
    step: Step
    z_prev: Tensor
    latents: Tensor
    noise: Tensor


def chained(step: Step, held: Tensor, drawn: Tensor) -> Tensor:
    """Return the noise in z_t, for the noise in z_{t-1} and a fresh draw.

    Args:
        step: the step from z_t to z_{t-1}.
        held: the noise in z_{t-1}, of any shape.
        drawn: standard normal noise of the same shape.

    Examples:
        >>> step = Step(phi=1.0, psi=0.6, rho=0.8, timestep=500.0, x0_z=1.0, x0_m=0.0, eps_z=0.0, eps_m=1.0)
        >>> chained(step, torch.ones(1), torch.zeros(1))  # the step keeps 0.6 of the noise beside 0.8 of a new one
        tensor([0.6000])
    """
    kept = step.arrival[1]
    share = kept / math.hypot(kept, step.rho)
    return share * held + math.sqrt(1.0 - share**2) * drawn


def drawn(index: int, step: Step, image: Tensor, z_prev: Tensor, held: Tensor) -> Drawn:
    """Return a step whose noisy latent is drawn.

    Args:
        index: its place in sampling order.
        step: the sampler's step.
        image: z_0, (B, C, h, w).
        z_prev: z_{t-1}, (B, C, h, w).
        held: the noise in z_t (see `chained`), (B, C, h, w).
    """
    kept_image, kept_noise = step.arrival
    noise = torch.zeros_like(z_prev)
    if not step.stochastic and step.psi == 0.0:
        # Whatever the network says, the step only scales the latent.
        return Drawn(index, step, z_prev, step.invert(z_prev, noise), noise)
    if step.stochastic:
        noise = (z_prev - kept_image * image - kept_noise * held) / step.rho
    return Drawn(index, step, z_prev, step.add_noise(image, held), noise)


@dataclass(frozen=True, eq=False)
class Exact:
    """What makes a drawn step exact.

    Attributes:
        noise: the noise of a stochastic step, (B, C, h, w); 0 for another.
        offset: what the prediction of a step without noise lacks, (B, C, h, w); None for a stochastic step.
    """

    noise: Tensor
    offset: Tensor | None = None


def made_exact(steps: Sequence[Drawn], network: Network) -> list[Exact]:
    """Return what makes drawn steps exact, for one pass of each step.

    The steps run as one batch. If there is no memory for it, they run in halves.

    Args:
        steps: the drawn steps, at least one unless nothing is to be done.
        network: the network with the source prompts.
    """
    if not steps:
        return []
    try:
        return _made_exact(steps, network)
    except Exception as error:
        if len(steps) == 1 or not is_out_of_memory(error):
            raise
    half = len(steps) // 2
    return [*made_exact(steps[:half], network), *made_exact(steps[half:], network)]


def _made_exact(steps: Sequence[Drawn], network: Network) -> list[Exact]:
    count = len(steps[0].latents)
    if len(steps) == 1:
        predictions: Sequence[Tensor] = [network.run(steps[0].latents, steps[0].step)]
    else:
        each = [drawn.step for drawn in steps for _ in range(count)]
        latents = torch.cat([drawn.latents for drawn in steps])
        predictions = torch.split(network.run_each(latents, each, [*range(count)] * len(steps)), count)
    found = []
    for drawn, prediction in zip(steps, predictions, strict=True):
        step = drawn.step
        if step.stochastic:
            found.append(Exact(step.noise_for(drawn.z_prev, drawn.latents, prediction)))
        else:
            # A step that only scales the latent lacks nothing.
            held = step.psi == 0.0
            offset = torch.zeros_like(prediction) if held else step.needed(drawn.z_prev, drawn.latents) - prediction
            found.append(Exact(drawn.noise, offset))
        network.tell(step, drawn.latents)
    return found
