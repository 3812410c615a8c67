"""Checks of settings: numbers in their ranges. Nothing here imports torch."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen

# No setting means anything beyond this number, which also keeps sums and products of settings finite.
LARGEST = 1e12
# No count of steps, iterations or passes means anything beyond this one.
MOST = 1_000_000
# What generators of random numbers take.
LARGEST_SEED = 2**63 - 1


def whole(value: Any, name: str, least: int, most: int = MOST) -> int:
    """Return a whole number, of Python's or numpy's, in [least, most].

    Raises:
        ConfigError: if the value is none; `name` is the argument that the error is about.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(Argument(name), f" must be a whole number of at least {least}, not {seen(value)}")
    if int(value) > most:
        raise ConfigError(Argument(name), f" must be a whole number of at most {most:,}, not {seen(value)}")
    return int(value)


def number(value: Any, name: str | Argument, least: float, most: float = LARGEST) -> float:
    """Return a finite number, of Python's or numpy's, in [least, most].

    Raises:
        ConfigError: if the value is none; `name` is the argument that the error is about.
    """
    argument = Argument(name) if isinstance(name, str) else name
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(argument, f" must be a number, not {seen(value)}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not least <= found <= most:
        bounds = f"in [{least:g}, {most:g}]" if most < LARGEST else f"a finite number of at least {least:g}"
        raise ConfigError(argument, f" must be {bounds}, not {seen(value)}")
    return found


def truth(value: Any, name: str) -> bool:
    """Return a truth value, of Python's or numpy's.

    Raises:
        ConfigError: if the value is none; `name` is the argument that the error is about.
    """
    if isinstance(value, bool) or (isinstance(value, Integral) and int(value) in (0, 1)):
        return bool(value)
    if getattr(value, "dtype", None) == "bool" and getattr(value, "ndim", None) == 0:
        return bool(value)
    raise ConfigError(Argument(name), f" must be True or False, not {seen(value)}")


def made_for(value: Any, kind: type[Any], name: str, needs: str, remedy: str) -> None:
    """Check that a value is of a kind, which is a protocol; a class of that kind is none.

    Args:
        value: what was given.
        kind: the protocol.
        name: the argument by which it came.
        needs: what such a value has, in words.
        remedy: where to find one.

    Raises:
        ConfigError: if it is not.
    """
    if isinstance(value, type) or not isinstance(value, kind):
        raise ConfigError(Argument(name), f" must be a value with {needs}, not {seen(value)}", remedy=remedy)


def store(settings: Any, **values: Any) -> None:
    """Store checked values in a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)
