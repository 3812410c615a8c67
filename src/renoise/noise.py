"""Where random numbers come from: generators, one for each image, and the noises that they draw.

Noise is drawn on the generator's device. A CPU generator, which is the default, gives every device the same numbers.
Since every image has a separate generator, its result does not depend on its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from renoise.checks import FINITE, require_finite, require_noise
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.steps import Step

# Any odd number far from 0 will do: neighbouring seeds must not share streams.
SEED_OFFSET = 0x9E3779B97F4A7C15


def generators_for(
    generator: torch.Generator | Sequence[torch.Generator] | None, seed: int, count: int
) -> list[torch.Generator]:
    """Return the source of each image's noise.

    Args:
        generator: one that serves the images in turn, or a list with one for each image; None makes a separate one for
            each image.
        seed: seeds the generators that are made.
        count: the number of images.

    Raises:
        ConfigError: if there are neither one nor as many generators as images.
    """
    if generator is None:
        return [torch.Generator().manual_seed(seed) for _ in range(count)]
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if not isinstance(generator, (list, tuple)) or not all(isinstance(g, torch.Generator) for g in generator):
        raise ConfigError(Argument("generator"), f" must be a torch.Generator or a list of them, not {seen(generator)}")
    if len(generator) != count:
        raise ConfigError(
            f"there are {count} images but {len(generator)} generators",
            argument="generator",
            remedy="give one, or one for each",
        )
    return list(generator)


def separate_streams(generators: Sequence[torch.Generator]) -> list[torch.Generator]:
    """Return generators with the same seeds that draw other numbers, and leave the given ones as they are."""
    return [torch.Generator().manual_seed((g.initial_seed() + SEED_OFFSET) % 2**63) for g in generators]


def draw_noise(
    num_steps: int, shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device
) -> Tensor:
    """Draw the noises of a stochastic sampler.

    Args:
        num_steps: the number of sampler steps.
        shape: (B, C, h, w).
        generators: one for each image (see `generators_for`).
        device: where the result is put.

    Returns:
        Standard normal noise, float32 (num_steps, B, C, h, w), in sampling order.
    """
    drawn = [
        torch.randn((num_steps, *shape[1:]), generator=g, device=g.device, dtype=torch.float32).to(device)
        for g in generators
    ]
    return torch.stack(drawn, dim=1)


def given_or_drawn(
    noise: Tensor | None,
    steps: Sequence[Step],
    z_0: Tensor,
    generators: Sequence[torch.Generator],
    *,
    always: bool = False,
) -> Tensor | None:
    """Return the noises of an inversion: those given, or noises drawn for a stochastic sampler.

    Args:
        noise: the noises given, (len(steps), B, C, h, w); None draws them.
        steps: the sampler's steps in sampling order.
        z_0: the clean latents, float32 (B, C, h, w).
        generators: one for each image.
        always: draw noises for a deterministic sampler as well.

    Returns:
        Float32 (len(steps), B, C, h, w) on the latents' device; None for a deterministic sampler that was given none.

    Raises:
        ConfigError: for noises of another shape.
        NumericalError: for NaN or infinity in them.
    """
    if noise is not None:
        require_noise(noise, (len(steps), *z_0.shape))
        noises = noise.detach().to(z_0.device, torch.float32)
        require_finite(noises, "the given noise", remedy=FINITE)
        return noises
    if always or any(step.stochastic for step in steps):
        return draw_noise(len(steps), z_0.shape, generators, z_0.device)
    return None


def noise_for_steps(
    steps: Sequence[Step], inverted: Sequence[Step], held: Tensor | None, shape: Sequence[int], seed: int
) -> tuple[Tensor, int]:
    """Find the noises that steps take, and draw those that an inversion does not hold.

    A noise belongs to a timestep. Steps at timesteps that the inversion went through take its noises. The others draw
    theirs from its seed, beyond the draws of the inversion itself, so that no noise is used twice.

    Args:
        steps: the steps to run, in sampling order.
        inverted: the steps that were inverted, in sampling order.
        held: the noises of the inverted steps, (len(inverted), B, C, h, w); None if they had none.
        shape: (B, C, h, w).
        seed: the inversion's.

    Returns:
        The noises, (len(steps), B, C, h, w) on the CPU, and how many of them had to be drawn.
    """
    known = {} if held is None else {step.timestep: n for step, n in zip(inverted, held.cpu(), strict=False)}
    missing = [step for step in steps if step.stochastic and step.timestep not in known]
    if missing:
        generators = generators_for(None, seed, shape[0])
        drawn = draw_noise(len(inverted) + len(missing), shape, generators, torch.device("cpu"))[len(inverted) :]
        known |= {step.timestep: n for step, n in zip(missing, drawn, strict=True)}
    unused = torch.zeros(tuple(shape), dtype=torch.float32)
    return torch.stack([known.get(step.timestep, unused) for step in steps]), len(missing)
