"""Schedules that are given as lists: the timesteps or the noise levels of every step. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sized
from itertools import islice, pairwise
from numbers import Integral
from typing import Any

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import number

# Far longer than any schedule: the timesteps that models are trained on are a thousand.
MOST = 10_000


def descending(values: Any, name: str) -> tuple[float, ...] | None:
    """Return a list of numbers of at least 0 that fall from one to the next, whole ones as whole numbers.

    Args:
        values: a list, a tuple, an array or a tensor of one dimension; None is None.
        name: the argument that an error is about.

    Raises:
        ConfigError: if it is no such list.

    Examples:
        >>> descending([999, 499.5, 0], "timesteps")
        (999, 499.5, 0)
    """
    if values is None:
        return None
    try:
        listed = values.tolist() if hasattr(values, "tolist") else values
        given = None if isinstance(listed, (str, bytes, dict)) else list(islice(listed, MOST + 1))
    except Exception:  # what is no list, or a tensor without numbers, raises as it may
        given = None
    if given is None:
        raise ConfigError(Argument(name), f" must be a list of numbers, not {seen(values)}")
    if not 0 < len(given) <= MOST:
        held = len(values) if isinstance(values, Sized) else len(given)
        raise ConfigError(Argument(name), f" must hold 1 to {MOST} numbers, not {held}")
    found = tuple(
        int(v) if isinstance(v, Integral) and number(v, name, 0.0) >= 0 else number(v, name, 0.0) for v in given
    )
    for before, after in pairwise(found):
        if after >= before:
            raise ConfigError(Argument(name), f" must fall from the noisiest step on, but {after:g} follows {before:g}")
    return found


def steps_in(timesteps: tuple[float, ...] | None, sigmas: tuple[float, ...] | None) -> int | None:
    """Return the number of steps that a list makes; the noise level 0, at which sampling ends, is no step.

    Raises:
        ConfigError: if both lists are given, or there is no step.

    Examples:
        >>> steps_in(None, (14.6, 3.1, 0.4, 0.0)), steps_in(None, None)
        (3, None)
    """
    if timesteps is not None and sigmas is not None:
        raise ConfigError(
            Argument("timesteps"), " and ", Argument("sigmas"), " both name the steps", remedy="give one of them"
        )
    if timesteps is not None:
        return len(timesteps)
    if sigmas is None:
        return None
    count = sum(sigma > 0.0 for sigma in sigmas)
    if not count:
        raise ConfigError(Argument("sigmas"), " must hold a noise level above 0")
    return count


def require_one_length(num_steps: Any, timesteps: Any, sigmas: Any) -> None:
    """Check that a number of steps does not come beside a list that has another.

    Raises:
        ConfigError: if it does, or the lists are none.
    """
    listed = steps_in(descending(timesteps, "timesteps"), descending(sigmas, "sigmas"))
    if num_steps is not None and listed not in (None, num_steps):
        raise ConfigError(
            Argument("num_steps", num_steps),
            f" was given beside a list of {listed} steps",
            remedy=("leave ", Argument("num_steps"), " out"),
        )
