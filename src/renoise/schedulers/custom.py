"""Schedules that a user gives as a list of timesteps or of noise levels, as diffusers' `set_timesteps` takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from renoise.errors import Argument, ConfigError, SchedulerError
from renoise.schedulers.names import SAMPLERS, is_flow

# Published lists of noise levels are rounded up.
_ROUNDED = 1.01
# TrigFlow's noise alone, in radians, as diffusers rounds it.
_QUARTER = 1.5708
# Samplers that look a timestep up in a table, and so take whole ones only.
_WHOLE = ("DDPMScheduler", "LCMScheduler", "TCDScheduler")


@dataclass(frozen=True)
class Custom:
    """The steps of a schedule; at most one of the lists is given.

    Attributes:
        timesteps: the timesteps, the noisiest first.
        sigmas: the noise levels, the noisiest first, before any shift; a 0 at the end is where sampling ends.
    """

    timesteps: Sequence[float] | None = None
    sigmas: Sequence[float] | None = None

    def options(self, scheduler: Any) -> Mapping[str, Any]:
        """Return what a scheduler's `set_timesteps` is given; nothing where no list is given.

        Raises:
            SchedulerError: if the scheduler does not take such a list.
            ConfigError: if the list leaves the scheduler's range.
        """
        name = "timesteps" if self.sigmas is None else "sigmas"
        values = getattr(self, name)
        if values is None:
            return {}
        kind = type(scheduler).__name__
        taken = inspect.signature(scheduler.set_timesteps).parameters
        # EDM's Euler scheduler takes places on its ramp by that name, and not noise levels.
        ramp = name == "sigmas" and not is_flow(scheduler) and not hasattr(scheduler, "alphas_cumprod")
        if name not in taken or ramp:
            other = next((f"; it takes {one}" for one in ("timesteps", "sigmas") if one in taken), "")
            raise SchedulerError(
                f"{kind} takes no list of {name}{other}",
                argument=name,
                remedy=("leave ", Argument(name), " out, or use another sampler, such as EulerDiscreteScheduler"),
            )
        if name == "timesteps":
            own = {"max_timesteps": None, "intermediate_timesteps": None} if kind == SAMPLERS["scm"] else {}
            return {name: self._timesteps(scheduler, kind), **own}
        return {name: self._sigmas(scheduler, kind)}

    def _timesteps(self, scheduler: Any, kind: str) -> list[float]:
        values, trained = list(self.timesteps or ()), int(scheduler.config.num_train_timesteps)
        if kind == SAMPLERS["scm"]:
            if values[0] > _QUARTER or values[-1] == 0:
                raise ConfigError(
                    Argument("timesteps"),
                    f" of {kind} go above 0 to {_QUARTER}, a quarter turn, not {values[0]:g}, {values[-1]:g}",
                )
            return [*values, 0.0]
        most = trained if is_flow(scheduler) else trained - 1
        if values[0] > most or (is_flow(scheduler) and values[-1] == 0):
            least = "above 0" if is_flow(scheduler) else "from 0"
            raise ConfigError(
                Argument("timesteps"), f" of {kind} go {least} to {most}, not {values[0]:g}, {values[-1]:g}"
            )
        if kind not in _WHOLE:
            return values
        if not all(float(value).is_integer() for value in values):
            raise ConfigError(Argument("timesteps"), f" of {kind} must be whole numbers")
        return [int(value) for value in values]

    def _sigmas(self, scheduler: Any, kind: str) -> list[float]:
        values = [float(value) for value in self.sigmas or () if value > 0.0]
        if is_flow(scheduler):
            most = 1.0
        else:
            alphas = scheduler.alphas_cumprod.double()
            most = float(((1.0 - alphas) / alphas).sqrt().max())
        if values[0] > _ROUNDED * most:
            raise ConfigError(
                Argument("sigmas"), f" of {kind} are at most {most:.4g} with this model, not {values[0]:g}"
            )
        # Flow matching adds the last noise level by itself; the others take it as part of the list.
        return values if is_flow(scheduler) else [*values, 0.0]


NONE = Custom()
