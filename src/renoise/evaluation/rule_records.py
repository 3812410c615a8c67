"""Edit rules as JSON-able data, by the names that records of measurements give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from renoise import ConfigError
from renoise.edit_rules import Changes, EditRule, KeepNothing, KeepStructure, PlainSampling, require_changes

# Rules that a row can edit by, each a dataclass whose fields are JSON-able. Others may add to it.
RULES: dict[str, type[Any]] = {
    "plain": PlainSampling,
    "keep-structure": KeepStructure,
    "keep-nothing": KeepNothing,
}


def changes_record(changes: Changes) -> dict[str, Any]:
    """Return how a row edits as JSON-able data, from which `changes_from` makes an equal value.

    Raises:
        ConfigError: if it has a rule whose class is not in `RULES`, so that nobody could read the record.

    Examples:
        >>> changes_record(Changes(strength=0.7))
        {'strength': 0.7, 'keep': None, 'rule': None}
    """
    return {"strength": changes.strength, "keep": changes.keep, "rule": _record_of(changes.own)}


def changes_from(record: Mapping[str, Any]) -> Changes:
    """Return what `changes_record` recorded.

    Raises:
        ConfigError: if it names no rule that is known, or a setting is out of its range.
        LookupError: if something is missing.
    """
    return require_changes(_rule_from(record["rule"]), record["strength"], record["keep"])


def _record_of(rule: EditRule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    name = next((name for name, known in RULES.items() if type(rule) is known), None)
    if name is None:
        kind = type(rule).__name__
        raise ConfigError(
            f"the edit rule {kind} has no name in records",
            argument="rule",
            remedy=f'name it: renoise.evaluation.rule_records.RULES["{kind}"] = {kind}',
        )
    settings: Any = rule
    return {"name": name, **asdict(settings)}


def _rule_from(record: Mapping[str, Any] | None) -> EditRule | None:
    if record is None:
        return None
    settings = dict(record)
    name = settings.pop("name")
    if not isinstance(name, str) or name not in RULES:
        raise ConfigError(f"the edit rule {name!r} is unknown", argument="rule", remedy=f"known are {', '.join(RULES)}")
    rule: EditRule = RULES[name](**settings)
    return rule
