"""Edit rules as JSON and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from renoise import ConfigError
from renoise.directly import DDCM, FlowEdit
from renoise.edit_rules import Changes, KeepNothing, KeepStructure, PlainSampling
from renoise.evaluation.outside.edit_rules import Anchoring, AutomaticMask, Disagreement, Fusion, Gain, ReleasedNoises
from renoise.evaluation.rule_records import RULES, changes_from, changes_record, rule_from, rule_record

EVERY: list[Any] = [
    PlainSampling(),
    KeepStructure(0.25),
    KeepNothing(0.5),
    AutomaticMask(Gain(KeepStructure(), at_edit=True), Disagreement("quantile", softness=1.0)),
    ReleasedNoises(0.5),
    ReleasedNoises(0.5, None),
    Fusion(omega=2.0),
    Anchoring(power=3.0),
    FlowEdit(4),
    DDCM(),
]


@pytest.mark.parametrize("rule", EVERY, ids=repr)
def test_a_rule_comes_back_equal(rule: Any) -> None:
    assert rule_from(json.loads(json.dumps(rule_record(rule)))) == rule


def test_every_named_class_is_tried_here() -> None:
    tried = {record["name"] for rule in EVERY for record in _records(rule_record(rule))}
    assert tried == set(RULES)


def _records(record: Any) -> list[dict[str, Any]]:
    inner = [each for value in record.values() if isinstance(value, dict) for each in _records(value)]
    return [record, *inner]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "magic"}, "the edit rule 'magic' is unknown; add its class to renoise.evaluation"),
        ({}, "the edit rule 'None' is unknown"),
        ([], "the edit rule 'None' is unknown"),
        ({"name": "disagreement"}, "the edit rule 'disagreement' is unknown"),  # a part and no rule
        ({"name": "gain", "heaviness": 2}, "settings of the edit rule 'gain' do not fit it"),
        ({"name": "gain", "weight": "2"}, "weight must be a number"),
        ({"name": "gain", "rule": {"name": "magic"}}, "the edit rule 'magic' is unknown"),
    ],
)
def test_damaged_records(record: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rule_from(record)


def test_a_rule_without_a_name_says_how_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Own:
        max_passes: int = 1

        def advance(self, at: Any) -> Any:
            raise NotImplementedError

    with pytest.raises(ConfigError, match=r'name it: renoise\.evaluation\.rule_records\.RULES\["Own"\] = Own'):
        rule_record(Gain(Own()))
    monkeypatch.setitem(RULES, "own", Own)
    assert rule_from(rule_record(Gain(Own()))) == Gain(Own())


@pytest.mark.parametrize(
    "changes",
    [
        Changes(),
        Changes(strength=0.25),
        Changes(keep="nothing"),
        Changes(strength=1.0, keep="auto"),
        Changes(PlainSampling()),
        Changes(Gain(KeepStructure(0.75))),
    ],
    ids=str,
)
def test_how_a_row_edits_comes_back_equal(changes: Changes) -> None:
    assert changes_from(json.loads(json.dumps(changes_record(changes)))) == changes


@pytest.mark.parametrize(
    "record",
    [
        {"strength": 2.0},
        {"strength": "much"},
        {"keep": "everything"},
        {"rule": {"name": 3}},
        {"rule": {"name": "keep-structure", "strength": 7.0}},
        {"rule": {"name": "flow-edit"}},  # it edits without an inversion
    ],
)
def test_damaged_rows(record: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        changes_from({"strength": None, "keep": None, "rule": None, **record})
