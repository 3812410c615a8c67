"""Schedules of diffusers' schedulers as tuples of `Step`s."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from renoise.errors import Argument, ConfigError, SchedulerError
from renoise.schedulers.custom import NONE, Custom
from renoise.schedulers.exchange import CLIPPING, made
from renoise.schedulers.kinds import require_kind
from renoise.schedulers.names import OWN_ETA, is_flow, kind_of, setting, takes_eta
from renoise.schedulers.tables import TABLES
from renoise.steps import Step
from renoise.torch_defaults import standard

# The number of steps for which a schedule of TrigFlow takes the timestep in its middle from outside.
_WITH_INTERMEDIATE = 2


@standard()
def steps_for(
    scheduler: Any,
    num_steps: int,
    *,
    eta: float | None = None,
    strength: float = 1.0,
    mu: float | None = None,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    custom: Custom = NONE,
) -> tuple[Step, ...]:
    """Read the sampler's steps off a copy of `scheduler`, in sampling order (index 0 = the noisiest).

    Args:
        scheduler: a diffusers scheduler out of `SUPPORTED`; it is not changed.
        num_steps: length of the whole schedule, 1 up to the number of training timesteps.
        eta: DDIM's eta or TCD's gamma, in [0, 1]; None is 0 and 0.3. For other samplers without noise it means what it
            means for DDIM, and they become stochastic (see `Step.renewing`). Those with noise of their own have no
            such setting.
        strength: the share of the schedule that is used, in (0, 1]; below 1 the noisiest steps are left out, rounded
            as diffusers' image-to-image pipelines do: to fewer steps, or to more for flow matching.
        mu: the shift of flow-matching schedulers with `use_dynamic_shifting`.
        sigmas: noise levels of the steps before any shift, in place of the scheduler's own; flow matching alone.
        timesteps: what the network is told of the time at those noise levels, where it is not what follows from them.
        custom: the timesteps or noise levels of the steps that a user asks for, which go before `sigmas`.

    Raises:
        SchedulerError: if the scheduler's law is not affine (clipping, thresholding, a multi-step sampler), or it has
            no such schedule.
        ConfigError: if a setting is out of range.

    Examples:
        >>> from diffusers import DDIMScheduler
        >>> steps = steps_for(DDIMScheduler(clip_sample=False), 50)
        >>> len(steps), steps[0].timestep
        (50, 980.0)
    """
    name = type(scheduler).__name__
    if name not in TABLES:
        require_kind(scheduler, flow=is_flow(scheduler))
    _check_settings(scheduler, name, num_steps, eta, strength, mu)
    told = {"sigmas": sigmas, "timesteps": timesteps} if is_flow(scheduler) else {}
    copy = _scheduled_copy(scheduler, num_steps, mu, told, custom.options(scheduler))
    try:
        steps = tuple(TABLES[name](copy, num_steps, eta))
        if eta is not None and name not in OWN_ETA:
            steps = tuple(step.renewing(eta) for step in steps)
    except (ArithmeticError, ValueError) as error:  # roots and quotients of betas that are none
        raise SchedulerError(
            f"{name} has no finite steps with its noise schedule ({error})",
            remedy="use the one that the model was trained with",
        ) from error
    for step in steps:
        if not all(math.isfinite(x) for x in (step.phi, step.psi, step.rho)):
            if is_flow(name):
                raise SchedulerError(
                    f"{name} has no finite steps with ", Argument("num_steps", num_steps), remedy="use more steps"
                )
            problem = f"{name} has no finite step at timestep {step.timestep:g}"
            raise SchedulerError(
                f"{problem} for {setting(copy, 'prediction_type')} prediction (zero terminal SNR wants v prediction)",
                remedy="use prediction_type='v_prediction' if the model was trained with it, or "
                "rescale_betas_zero_snr=False",
            )
    used = min(int(num_steps * strength), num_steps)
    if kind_of(name) in ("flow", "trigflow"):
        used = num_steps - int(max(num_steps - num_steps * strength, 0.0))
    if used < 1:
        raise ConfigError(
            Argument("strength", strength, "schedule"),
            f" of {num_steps} steps leaves no step",
            remedy=("use at least ", Argument("strength", least_strength(num_steps), "schedule"), " or more steps"),
        )
    return steps[len(steps) - used :]


def least_strength(num_steps: int) -> float:
    """Return a strength that leaves one of so many steps: the least one, rounded up to three digits.

    Examples:
        >>> least_strength(3)
        0.334
    """
    digits = 10.0 ** (2 + len(str(num_steps)))
    return math.ceil(digits / num_steps) / digits


def _check_settings(
    scheduler: Any, name: str, num_steps: int, eta: float | None, strength: float, mu: float | None
) -> None:
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
        raise ConfigError(Argument("num_steps"), f" must be a whole number of at least 1, not {num_steps!r}")
    trained = int(setting(scheduler, "num_train_timesteps"))
    if num_steps > trained:
        raise ConfigError(
            Argument("num_steps", num_steps), f" is more than the {trained} timesteps that the model was trained on"
        )
    if eta is not None and not takes_eta(scheduler):
        raise ConfigError(
            Argument("eta", eta), f" was given, but {name} adds noise in its own measure", remedy="leave eta=None"
        )
    if eta is not None and not 0.0 <= eta <= 1.0:
        raise ConfigError(Argument("eta"), f" must be in [0, 1], not {eta:g}")
    if not 0.0 < strength <= 1.0:
        raise ConfigError(Argument("strength", of="schedule"), f" must be above 0 and at most 1, not {strength:g}")
    for clips in CLIPPING:
        if setting(scheduler, clips, False):
            raise SchedulerError(
                f"{name} has {clips}=True, which clips the sample and makes the step impossible to invert",
                remedy=f"use pipe.scheduler = {name}.from_config(pipe.scheduler.config, {clips}=False)",
            )
    if setting(scheduler, "invert_sigmas", False):
        raise SchedulerError(
            f"{name} has invert_sigmas=True, which no supported model family uses", remedy="set it to False"
        )
    if setting(scheduler, "use_dynamic_shifting", False) and mu is None:
        raise SchedulerError(
            f"{name} shifts its schedule by the image's size", remedy="give mu, or set use_dynamic_shifting=False"
        )
    if getattr(scheduler, "_scale_factors", None):
        raise SchedulerError(
            f"{name} has scale_factors, with which the size of the latents changes from step to step, so that no step "
            "has an inverse",
            remedy=f"use pipe.scheduler = {name}.from_config(pipe.scheduler.config, scale_factors=None)",
        )
    variance = setting(scheduler, "variance_type", "fixed_small")
    if variance not in ("fixed_small", "fixed_small_log", "fixed_large"):
        raise SchedulerError(
            f"{name} has variance_type={variance!r}, but only fixed variances can be inverted",
            remedy="use variance_type='fixed_small'",
        )


def _scheduled_copy(
    scheduler: Any,
    num_steps: int,
    mu: float | None,
    told: Mapping[str, Sequence[float] | None],
    custom: Mapping[str, Any],
) -> Any:
    """Copy a scheduler and set the copy's schedule: the user's object keeps its counters and timesteps."""
    options: dict[str, Any] = {"mu": mu} if setting(scheduler, "use_dynamic_shifting", False) else {}
    # Noise levels that a user asks for leave the network what it is told of them; timesteps take the place of both.
    if "timesteps" not in custom:
        options |= {name: list(values) for name, values in told.items() if values is not None}
    options |= custom
    taken = inspect.signature(scheduler.set_timesteps).parameters
    counts = not custom or taken["num_inference_steps"].default is inspect.Parameter.empty
    if "intermediate_timesteps" in taken and num_steps != _WITH_INTERMEDIATE:
        options["intermediate_timesteps"] = None
    try:
        copy = made(type(scheduler), scheduler.config)
        if hasattr(scheduler, "set_shift"):
            copy.set_shift(scheduler.shift)
        with np.errstate(all="ignore"):  # what is not finite is refused with the steps
            copy.set_timesteps(num_steps if counts else None, **options)
    except Exception as error:  # schedulers check little of their configuration and fail as they may
        raise SchedulerError(
            f"{type(scheduler).__name__} has no schedule of {num_steps} steps ({error})",
            remedy="leave the list out" if custom else ("use another ", Argument("num_steps")),
        ) from error
    return copy
