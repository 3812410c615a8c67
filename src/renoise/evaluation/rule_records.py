"""Edit rules as JSON-able data, by the names that records of measurements give them and their parts."""

from __future__ import annotations

from typing import Any

from renoise.directly import DDCM, DirectRule, FlowEdit
from renoise.edit_rules import EditRule, KeepStructure, PlainSampling
from renoise.evaluation.outside.edit_rules import Anchoring, AutomaticMask, Disagreement, Fusion, Gain, ReleasedNoises
from renoise.named_parts import NamedParts

# The rules of edits with an inversion and without one, and the parts that they are put together from. Others may add to
# it.
EDIT_RULES: dict[str, type[Any]] = {
    "plain": PlainSampling,
    "structure": KeepStructure,
    "automatic_mask": AutomaticMask,
    "disagreement": Disagreement,
    "released_noises": ReleasedNoises,
    "gain": Gain,
    "fusion": Fusion,
    "anchoring": Anchoring,
    "flow_edit": FlowEdit,
    "ddcm": DDCM,
}
_PARTS = NamedParts(
    "edit rule",
    "rule",
    EDIT_RULES,
    (EditRule, DirectRule),
    "renoise.evaluation.rule_records.EDIT_RULES",
    "measure the edits again",
)


def rule_record(rule: EditRule | DirectRule) -> dict[str, Any]:
    """Return an edit rule as JSON-able data, from which `rule_from` makes an equal one.

    Raises:
        ConfigError: if its class or that of one of its parts is not in `EDIT_RULES`, so that nobody could read the
            record.

    Examples:
        >>> rule_record(KeepStructure(0.5))
        {'name': 'structure', 'strength': 0.5}
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
