"""Values for parameters of tests, of which a few run at once and the others with `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(quick: Iterable[str], values: Iterable[str]) -> list[Any]:
    """Return values as parameters of a test; all but the quick ones are marked slow.

    Raises:
        ValueError: if a quick one is none of the values.
    """
    quick, values = set(quick), list(values)
    if not quick <= set(values):
        raise ValueError(f"quick ones that are no values: {sorted(quick - set(values))}")
    return [pytest.param(value, marks=() if value in quick else pytest.mark.slow) for value in values]
