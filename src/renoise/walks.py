"""From the noise z_T down to the clean latent z_0: the sampler forwards, with the inversion's noises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.inversion import Inversion, PredictAt, draw_noise, generators_for
from renoise.steps import Step, noise_level


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


def joined(steps: Sequence[Step], top: Step) -> tuple[Step, ...]:
    """`steps`, made to start at the noise level of `top`, where the inversion ended.

    Another number of steps has other noise levels, and a latent must not be taken for noisier or cleaner than it is. A
    deterministic sampler starts with one step from the inversion's level to where the first of its own steps that leads
    below it arrives; a stochastic one comes down to its first level below without noise, which is one step more.

    Args:
        steps: the steps of the schedule asked for, in sampling order.
        top: the noisiest step that was inverted.
    """
    if math.isclose(steps[0].noise_level, top.noise_level, rel_tol=1e-6):
        return tuple(steps)
    if not any(step.stochastic for step in steps):
        below = [step for step in steps if noise_level(*step.arrival) < top.noise_level] or [steps[-1]]
        return (top.towards(*below[0].arrival), *below[1:])
    below = [step for step in steps if step.noise_level < top.noise_level]
    return (top.towards(below[0].alpha, below[0].sigma), *below) if below else (top.towards(*steps[-1].arrival),)


def noise_for_steps(steps: Sequence[Step], inverted: Sequence[Step], inversion: Inversion) -> tuple[Tensor, int]:
    """The noises that `steps` take, (len(steps), B, C, h, w) on the CPU, and how many of them had to be drawn.

    A noise belongs to a timestep. Steps at timesteps that the inversion went through take its noises; the others draw
    theirs from its seed, beyond the draws of the inversion itself, so that no noise is used twice.

    Args:
        steps: the steps to run, in sampling order.
        inverted: the steps that were inverted, in sampling order.
        inversion: holds their noises.
    """
    shape = inversion.latents.shape
    held = () if inversion.noise is None else inversion.noise.cpu()
    known = {step.timestep: noise for step, noise in zip(inverted, held, strict=False)}
    missing = [step for step in steps if step.stochastic and step.timestep not in known]
    if missing:
        generators = generators_for(None, inversion.config.seed, shape[0])
        drawn = draw_noise(len(inverted) + len(missing), shape, generators, torch.device("cpu"))[len(inverted) :]
        known |= {step.timestep: noise for step, noise in zip(missing, drawn, strict=True)}
    unused = torch.zeros(shape)
    return torch.stack([known.get(step.timestep, unused) for step in steps]), len(missing)
