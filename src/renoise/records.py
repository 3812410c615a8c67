"""Settings from JSON as dataclasses, read strictly: every key is known, and every value has the right type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

from renoise.errors import ConfigError

T = TypeVar("T")


def read_settings(record: Any, cls: type[T], parts: Mapping[str, Any], make: Callable[[Any, Any], Any]) -> T:
    """Return the settings that a record of JSON holds, checked by their types and by their own rules.

    A setting that this version does not know is refused, because leaving it out would change the result without a word.
    Settings that the record leaves out, because it is older than they are, have their defaults.

    Args:
        record: the record.
        cls: the settings' dataclass, which checks its values when it is made.
        parts: its settings that are dataclasses themselves, by name; a record names each of them.
        make: makes a value of a type that is no plain one, from that type and the record's value.

    Raises:
        ConfigError: if it is no such record.

    Examples:
        >>> from renoise import Renoising
        >>> read_settings({"iterations": 2, "average": [1, 3]}, Renoising, {}, lambda kind, value: value)
        Renoising(iterations=2, average=(1, 3), weights=None)
    """
    if not isinstance(record, Mapping):
        raise ConfigError(f"the settings must be an object, not {type(record).__name__}")
    if missing := set(parts) - set(record):
        raise ConfigError(f"the settings lack {', '.join(sorted(missing))}")
    _require_known(record, cls, "")
    for name, part in parts.items():
        if isinstance(record[name], Mapping):
            _require_known(record[name], part, f"{name}.")
    try:
        return msgspec.convert(dict(record), cls, dec_hook=make)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter of lone surrogates
        raise ConfigError(f"the settings make no sense: {error}") from error


def _require_known(record: Mapping[str, Any], cls: Any, prefix: str) -> None:
    unknown = set(record) - {field.name for field in fields(cls)}
    if unknown:
        raise ConfigError(
            f"the settings hold {prefix}{min(map(str, unknown))}, which this version of renoise does not know",
            remedy="update renoise",
        )
