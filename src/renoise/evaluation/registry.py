"""All methods by their names in records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from renoise.errors import ConfigError
from renoise.evaluation.methods import Method, ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        ReNoise.kind: ReNoise,
        DDIMInverse.kind: DDIMInverse,
        EditFriendly.kind: EditFriendly,
        NegativePrompt.kind: NegativePrompt,
        NullPrompt.kind: NullPrompt,
    }
)


def method_from(settings: Mapping[str, Any]) -> Method:
    """The method that a record's settings describe.

    Raises:
        ConfigError: if they describe none.

    Example:
        >>> method_from({"kind": "ddim-inverse", "num_steps": 20})
        DDIMInverse(num_steps=20)
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in METHODS:
        raise ConfigError(f"the method {kind!r} is unknown; known are {', '.join(METHODS)}")
    try:
        return METHODS[kind].from_settings(settings)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"the settings of the method {kind!r} are incomplete or damaged ({error})") from error
