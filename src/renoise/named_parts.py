"""Values that are put together from named parts, as JSON-able data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from renoise.errors import ConfigError, Part, Parts, RenoiseError

# A record of a value that is put together from more parts than this, one within the other, is nobody's.
_DEEPEST = 8


@dataclass(frozen=True, eq=False)
class NamedParts:
    """The classes of which records tell by their names: those of a value, and of the parts that it holds.

    Attributes:
        what: what such a value is called.
        argument: the argument by which it comes.
        known: the classes by their names; others may add to it.
        kind: what every such value is.
        place: where `known` is found, for messages.
        lost: what to do about a record that nobody can read, after "add its class to ... by this name, or ".
    """

    what: str
    argument: str
    known: dict[str, type[Any]]
    kind: Any
    place: str
    lost: str

    def record(self, value: Any) -> dict[str, Any]:
        """Return a value as JSON-able data, from which `made` makes an equal one.

        Raises:
            ConfigError: if its class or that of one of its parts has no name, so that nobody could read the record.
        """
        record = self._recorded(value)
        if isinstance(record, dict):
            return record
        raise self._error(f"the {self.what} {type(value).__name__} is no dataclass, whose fields could be recorded")

    def made(self, record: Any) -> Any:
        """Return the value that `record` recorded.

        Raises:
            ConfigError: if the record names none that is known, or its settings do not fit it.
        """
        value = self._made(record, _DEEPEST) if isinstance(record, Mapping) else None
        if isinstance(value, self.kind):
            return value
        raise self._unknown(record.get("name") if isinstance(record, Mapping) else None)

    def _recorded(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [self._recorded(each) for each in value]
        name = next((name for name, known in self.known.items() if type(value) is known), None)
        if name is None and not is_dataclass(value) and not isinstance(value, self.kind):
            return value
        if name is None:
            own = type(value).__name__
            raise self._error(
                f"the {self.what} {own} has no name in records", remedy=f'name it: {self.place}["{own}"] = {own}'
            )
        if not is_dataclass(value):
            raise self._error(f"the {self.what} {name!r} is no dataclass, whose fields could be recorded")
        return {"name": name, **{field.name: self._recorded(getattr(value, field.name)) for field in fields(value)}}

    def _made(self, record: Any, depth: int) -> Any:
        if isinstance(record, (list, tuple)):
            if depth < 0:
                raise self._unknown(None)
            return tuple(self._made(each, depth - 1) for each in record)
        if not isinstance(record, Mapping):
            return record
        name = record.get("name")
        if not isinstance(name, str) or name not in self.known or depth < 0:
            raise self._unknown(name)
        settings = {key: self._made(value, depth - 1) for key, value in record.items() if key != "name"}
        try:
            return self.known[name](**settings)
        except RenoiseError:
            raise
        except Exception as error:  # the parts of others check their settings as they like
            raise self._error(f"the settings of the {self.what} {name!r} do not fit it ({error})") from error

    def _unknown(self, name: Any) -> ConfigError:
        remedy = f"add its class to {self.place} by this name, or {self.lost}"
        return self._error(f"the {self.what} {str(name)[:80]!r} is unknown", remedy=remedy)

    def _error(self, problem: Part, remedy: Parts = ()) -> ConfigError:
        return ConfigError(problem, argument=self.argument, remedy=remedy)
