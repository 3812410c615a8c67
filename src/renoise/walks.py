"""The two walks along a sampler's schedule: up from z_0 to the noise z_T, and down from z_T to z_0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from renoise.config import InversionConfig
from renoise.correction import correct
from renoise.edit_rules import EditRule, EditStep, PlainSampling, SourceStep
from renoise.enhancement import Enhancement
from renoise.errors import Argument, ConfigError
from renoise.network import Network
from renoise.solvers import Problem, Solution
from renoise.steps import Step, noise_level

PLAIN = PlainSampling()


@dataclass(frozen=True, eq=False)
class InvertedStep:
    """What the walk up yields after each step.

    Attributes:
        index: the step's place in sampling order; 0 is the noisiest step.
        step: the sampler's step.
        latents: z_t, float32 (B, C, h, w).
        noise: the step's noise, corrected if the settings say so, (B, C, h, w); None for a deterministic sampler.
        solution: what the solver found.
    """

    index: int
    step: Step
    latents: Tensor
    noise: Tensor | None
    solution: Solution


def invert_steps(
    steps: Sequence[Step],
    network: Network,
    latents: Tensor,
    noise: Tensor | None,
    config: InversionConfig,
    enhancement: Enhancement | None = None,
) -> Iterator[InvertedStep]:
    """Walk the sampler backwards, from the cleanest step to the noisiest.

    Args:
        steps: the sampler's steps in sampling order.
        network: the network with the source prompts.
        latents: z_0, float32 (B, C, h, w).
        noise: (len(steps), B, C, h, w) in sampling order; None for a deterministic sampler.
        config: decides the solver and the noise correction of each step.
        enhancement: edit enhancement; None for none.

    Raises:
        SchedulerError: before the first pass, if any of the steps cannot be inverted.
        ConfigError: if the solver returns no solution of its step.
    """
    for step in steps:
        step.require_invertible()
    correction = config.noise_correction
    z = latents
    for index in reversed(range(len(steps))):
        step, z_prev = steps[index], z
        step_noise = None if noise is None else noise[index]
        refine = None if enhancement is None else enhancement.refinement(step)
        as_published = enhancement is not None and enhancement.losses.released_procedure
        problem = Problem(step, z_prev, step_noise, network, refine, refine_as_published=as_published)
        solution = _checked(config.solver_at(step.placed_at).solve(problem), z_prev)
        z = solution.value
        if step_noise is not None and step.stochastic and correction is not None and correction.amount > 0.0:
            step_noise = correct(step_noise, step.noise_for(z_prev, z, network(z, step)), correction)
        yield InvertedStep(index, step, z, step_noise, solution)


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
    trajectory: Tensor | None = None,
) -> Iterator[DenoisedStep]:
    """Walk the sampler from z_T to z_0 by an edit rule.

    Args:
        steps: the sampler's steps in sampling order.
        network: the network with the target prompts.
        latents: z_T, float32 (B, C, h, w).
        noise: (len(steps), B, C, h, w) in sampling order; None for a deterministic sampler.
        rule: makes the next latent at each step.
        source_network: makes the network with the source prompts, if the rule asks for it; None takes `network`.
        trajectory: the source's latents z_0 .. z_T, (len(steps) + 1, B, C, h, w); None if they were not kept.

    Raises:
        ConfigError: if the rule returns no latents.
    """
    z = latents
    for index, step in enumerate(steps):
        source = None
        if trajectory is not None:
            source = SourceStep(trajectory[len(steps) - index], trajectory[len(steps) - index - 1])
        z_next = rule.advance(
            EditStep(
                index,
                len(steps),
                step,
                z,
                None if noise is None else noise[index],
                partial(network, step=step),
                partial(_predict_source, source_network or (lambda: network), step),
                source,
            )
        )
        _require_latents("rule", "advance", z_next, z)
        z = z_next
        yield DenoisedStep(index, step, z)


def _checked(solution: Solution, z_prev: Tensor) -> Solution:
    """Return what a solver found if a walk can go on from it.

    Raises:
        ConfigError: if it is no solution of the step.
    """
    if not isinstance(solution, Solution):
        raise ConfigError(Argument("solver"), f" must return a Solution, not {type(solution).__name__}")
    _require_latents("solver", "solve", solution.value, z_prev)
    found = tuple(solution.residuals.shape)
    if len(found) != 2 or found[0] == 0 or found[1] != len(z_prev):
        raise ConfigError(Argument("solver"), f" must return residuals (passes, {len(z_prev)}), not {found}")
    return solution


def _require_latents(argument: str, method: str, made: Tensor, like: Tensor) -> None:
    if not isinstance(made, Tensor) or made.shape != like.shape or made.dtype != like.dtype:
        found = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise ConfigError(
            Argument(argument), f" must return latents {like.dtype} {tuple(like.shape)} from {method}, not {found}"
        )


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
