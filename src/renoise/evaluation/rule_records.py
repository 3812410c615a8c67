"""How an edit changes an image as JSON-able data: rules by the names that records of measurements give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renoise.directly import DDCM, DirectRule, FlowEdit
from renoise.edit_rules import (
    Changes,
    EditRule,
    KeepNothing,
    KeepStructure,
    PlainSampling,
    require_changes,
    require_rule,
)
from renoise.errors import ConfigError
from renoise.evaluation.outside.edit_rules import Anchoring, AutomaticMask, Disagreement, Fusion, Gain, ReleasedNoises
from renoise.named_parts import NamedParts

# The rules of edits with an inversion and without one, and the parts that they are put together from: dataclasses whose
# fields are JSON-able or such parts. Others may add to it.
RULES: dict[str, type[Any]] = {
    "plain": PlainSampling,
    "keep-structure": KeepStructure,
    "keep-nothing": KeepNothing,
    "automatic-mask": AutomaticMask,
    "disagreement": Disagreement,
    "released-noises": ReleasedNoises,
    "gain": Gain,
    "fusion": Fusion,
    "anchoring": Anchoring,
    "flow-edit": FlowEdit,
    "ddcm": DDCM,
}
_PARTS = NamedParts(
    "edit rule",
    "rule",
    RULES,
    (EditRule, DirectRule),
    "renoise.evaluation.rule_records.RULES",
    "measure the edits again",
)


def rule_record(rule: EditRule | DirectRule) -> dict[str, Any]:
    """Return an edit rule as JSON-able data, from which `rule_from` makes an equal one.

    Raises:
        ConfigError: if its class or that of one of its parts is not in `RULES`, so that nobody could read the record.

    Examples:
        >>> rule_record(KeepStructure(0.5))
        {'name': 'keep-structure', 'strength': 0.5}
    """
    return _PARTS.record(rule)


def rule_from(record: Any) -> EditRule | DirectRule:
    """Return the edit rule that `rule_record` recorded.

    Raises:
        ConfigError: if the record names none that is known, or its settings do not fit it.

    Examples:
        >>> rule_from({"name": "gain", "weight": 1.5, "rule": {"name": "plain"}})
        Gain(rule=PlainSampling(), at_edit=False, weight=1.5)
    """
    rule: EditRule | DirectRule = _PARTS.made(record)
    return rule


def changes_record(changes: Changes) -> dict[str, Any]:
    """Return how a row edits as JSON-able data, from which `changes_from` makes an equal value.

    Raises:
        ConfigError: if it has a rule whose class is not in `RULES`, so that nobody could read the record, or a mask,
            which a record does not hold.

    Examples:
        >>> changes_record(Changes(strength=0.7))
        {'strength': 0.7, 'keep': None, 'rule': None}
    """
    if changes.mask is not None or changes.told:
        raise ConfigError(
            "a row of a run edits without a mask and tells none", argument="edit", remedy="leave out mask and told"
        )
    rule = None if changes.own is None else rule_record(changes.own)
    return {"strength": changes.strength, "keep": changes.keep, "rule": rule}


def changes_from(record: Mapping[str, Any]) -> Changes:
    """Return what `changes_record` recorded.

    Raises:
        ConfigError: if it names no rule that is known, or a setting is out of its range.
        LookupError: if something is missing.
    """
    rule: Any = None
    if record["rule"] is not None:
        rule = rule_from(record["rule"])
        require_rule(rule)
    return require_changes(rule, record["strength"], record["keep"])
