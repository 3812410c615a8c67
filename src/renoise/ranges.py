"""Checks of settings: numbers in their ranges. Nothing here imports torch."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from renoise.errors import Argument, ConfigError

# No setting means anything beyond this number, which also keeps sums and products of settings finite.
LARGEST = 1e12


def whole(value: Any, name: str, least: int) -> int:
    """Return a whole number, of Python's or numpy's, that is at least `least`.

    Raises:
        ConfigError: if the value is none; `name` is the argument that the error is about.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(Argument(name), f" must be a whole number of at least {least}, not {value!r}")
    return int(value)


def number(value: Any, name: str, least: float, most: float = LARGEST) -> float:
    """Return a finite number, of Python's or numpy's, in [least, most].

    Raises:
        ConfigError: if the value is none; `name` is the argument that the error is about.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(Argument(name), f" must be a number, not {value!r}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not least <= found <= most:
        bounds = f"in [{least:g}, {most:g}]" if most < LARGEST else f"a finite number of at least {least:g}"
        raise ConfigError(Argument(name), f" must be {bounds}, not {value!r}")
    return found


def store(settings: Any, **values: Any) -> None:
    """Store checked values in a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)
