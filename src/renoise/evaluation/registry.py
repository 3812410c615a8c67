"""All methods by their names in records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from renoise import ConfigError
from renoise.evaluation.methods import Method, ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {method.kind: method for method in (ReNoise, DDIMInverse, EditFriendly, NegativePrompt, NullPrompt)}
)


def method_from(settings: Mapping[str, Any]) -> Method:
    """Return the method that a record's settings describe.

    Raises:
        ConfigError: if they describe none.

    Examples:
        >>> method_from({"kind": "ddim-inverse", "num_steps": 20})
        DDIMInverse(num_steps=20)
    """
    name = settings.get("kind")
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(
            f"the method {name!r} is unknown",
            argument="settings",
            remedy=f"known are {', '.join(METHODS)}",
        )
    try:
        return METHODS[name].from_settings(settings)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"the settings of the method {name!r} are incomplete or damaged ({error})"
        raise ConfigError(problem, argument="settings") from error
