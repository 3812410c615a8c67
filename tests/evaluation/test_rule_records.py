"""How a row edits, as data: equal values from records, and refusals of damaged ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from renoise import ConfigError
from renoise.edit_rules import Changes, EditStep, KeepStructure, PlainSampling
from renoise.evaluation.rule_records import RULES, changes_from, changes_record


@dataclass(frozen=True)
class Mine:
    """A rule of somebody else."""

    amount: float = 1.0
    max_passes: int = 1

    def advance(self, at: EditStep) -> Tensor:
        return at.z


@pytest.mark.parametrize(
    "changes",
    [
        Changes(),
        Changes(strength=0.25),
        Changes(keep="nothing"),
        Changes(strength=1.0, keep="auto"),
        Changes(PlainSampling()),
        Changes(KeepStructure(0.75)),
    ],
    ids=str,
)
def test_a_record_makes_an_equal_value(changes: Changes) -> None:
    assert changes_from(json.loads(json.dumps(changes_record(changes)))) == changes


def test_rules_of_others_want_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"Mine has no name in records.*RULES\[\"Mine\"\] = Mine"):
        changes_record(Changes(Mine()))
    monkeypatch.setitem(RULES, "mine", Mine)
    changes = Changes(Mine(2.0))
    record = changes_record(changes)
    assert record["rule"] == {"name": "mine", "amount": 2.0, "max_passes": 1}
    assert changes_from(record) == changes


@pytest.mark.parametrize("rule", [{"name": "magic"}, {"name": 3}, {"name": "keep-structure", "strength": 7.0}])
def test_rules_that_are_none(rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        changes_from({"strength": None, "keep": None, "rule": rule})


@pytest.mark.parametrize("knobs", [{"strength": 2.0}, {"strength": "much"}, {"keep": "everything"}])
def test_knobs_out_of_their_range(knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        changes_from({"strength": None, "keep": None, "rule": None, **knobs})
