"""The walk down a sampler's schedule, from the noise z_T to the clean latents z_0."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from renoise.checks import require_made
from renoise.edit_rules import EditRule, EditStep, PlainSampling
from renoise.network import Network
from renoise.source_walk import SourceWalk
from renoise.steps import Step, noise_level

PLAIN = PlainSampling()


@dataclass(frozen=True, eq=False)
class DenoisedStep:
    """What the walk down yields after each step.

    Attributes:
        index: the step's place in sampling order; 0 is the noisiest step.
        step: the sampler's step.
        latents: z_{t-1}, float32 (B, C, h, w).
    """

    index: int
    step: Step
    latents: Tensor


def denoise_steps(
    steps: Sequence[Step],
    network: Network,
    latents: Tensor,
    noise: Tensor | None,
    rule: EditRule = PLAIN,
    source_network: Callable[[], Network] | None = None,
    source: SourceWalk | None = None,
    unchanged: Tensor | None = None,
    memory: dict[Hashable, Tensor] | None = None,
) -> Iterator[DenoisedStep]:
    """Walk the sampler from z_T to z_0 by an edit rule.

    Args:
        steps: the sampler's steps in sampling order.
        network: the network with the target prompts.
        latents: z_T, float32 (B, C, h, w).
        noise: (len(steps), B, C, h, w) in sampling order; None for a deterministic sampler.
        rule: makes the next latent at each step.
        source_network: makes the network with the source prompts, if the rule asks for it; None takes `network`.
        source: the source's own walk through these steps; None if it was not kept.
        unchanged: which images are to be the source itself, boolean (B,), for a source that is known; None is none of
            them. If all are, the walk takes no network pass.
        memory: where rules remember things from step to step; None is an empty one of the walk's own.

    Raises:
        ConfigError: if the rule returns no latents.
    """
    z = latents
    memory = {} if memory is None else memory
    unchanged = torch.zeros(len(z), dtype=torch.bool) if source is None or unchanged is None else unchanged
    kept, whole = unchanged.to(z.device)[:, None, None, None], bool(unchanged.all())
    for index, step in enumerate(steps):
        known = None if source is None else source.at(index)
        if known is not None and whole:
            z = known.end
        else:
            z_next = rule.advance(
                EditStep(
                    index,
                    len(steps),
                    step,
                    z,
                    None if noise is None else noise[index],
                    partial(network, step=step),
                    partial(_predict_source, source_network or (lambda: network), step),
                    known,
                    memory,
                )
            )
            require_made("rule", "advance", z_next, z)
            z = z_next if known is None else torch.where(kept, known.end, z_next)
        yield DenoisedStep(index, step, z)


def _predict_source(source_network: Callable[[], Network], step: Step, z: Tensor) -> Tensor:
    return source_network()(z, step)


def joined(steps: Sequence[Step], top: Step) -> tuple[Step, ...]:
    """Return `steps` so that they start at the noise level of `top`, where the inversion ended.

    Another number of steps has other noise levels, and a latent must not be taken for noisier or cleaner than it is. A
    deterministic sampler starts with one step from the inversion's level to the level where the first of its steps that
    leads below arrives. A stochastic one comes down to its first level below without noise, which is one more step.

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
