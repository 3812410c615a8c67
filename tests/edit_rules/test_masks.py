"""Masked edits: the source where a mask is black, the rule where it is white, and a part of the way between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from renoise import ConfigError
from renoise.edit_rules import EditRule, EditStep, KeepStructure, Masked, PlainSampling, SourceStep, TellingRule
from renoise.steps import Step


def row(*values: float) -> Tensor:
    return torch.tensor(values)[None, None, None]


def at(index: int, step: Step, z: Tensor, start: float, end: float) -> EditStep:
    """A step of a network that predicts 3 z, with the source's walk from one number to another."""
    known = SourceStep(*(torch.full_like(z, value) for value in (start, end, 1.0, 0.0)))
    return EditStep(index, 2, step, z, torch.full_like(z, 4.0), lambda z: 3.0 * z, lambda z: z, known)


def test_two_steps_by_hand() -> None:
    rule = Masked(PlainSampling(), row(0.0, 0.5, 1.0))
    # The rule: 2 * 2 - 6 + 0.5 * 4 = 0. The source: 5.
    z = rule.advance(at(0, Step(2.0, -1.0, 0.5, 2.0), row(2.0, 2.0, 2.0), 2.0, 5.0))
    assert torch.equal(z, row(5.0, 2.5, 0.0))
    # The rule: 3.5 z = 17.5, 8.75, 0. The source's prediction leads on from z to 1 + 0.5 (z - 5) = 1, -0.25, -1.5.
    z = rule.advance(at(1, Step(0.5, 1.0, 0.0, 1.0), z, 5.0, 1.0))
    assert torch.equal(z, row(1.0, 4.25, 0.0))


def test_zeros_are_the_source_and_ones_the_rule_to_the_last_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    z, end = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 4, 8, 8, generator=draw)
    step = Step(1.37, -0.73, 0.31, 500.0)
    given = EditStep(0, 1, step, z, end, torch.sin, torch.sin, SourceStep(z, end, end, z))
    assert torch.equal(Masked(PlainSampling(), torch.zeros(1, 1, 8, 8)).advance(given), end)
    plain = PlainSampling().advance(given)
    assert torch.equal(Masked(PlainSampling(), torch.ones(2, 1, 8, 8)).advance(given), plain)


def test_a_rule_in_a_mask_keeps_its_memory() -> None:
    inner = KeepStructure(0.5)
    rule = Masked(inner, torch.full((1, 1, 1, 3), 0.5))
    first = at(0, Step(2.0, -1.0, 0.5, 2.0), row(2.0, 2.0, 2.0), 2.0, 5.0)
    rule.advance(first)
    assert isinstance(rule, TellingRule)
    assert torch.equal(rule.changed(first.memory), 0.5 * inner.changed(first.memory))
    assert torch.equal(Masked(PlainSampling(), rule.mask).changed({}), rule.mask)
    assert (rule.max_passes, isinstance(rule, EditRule)) == (1, True)


@dataclass(frozen=True)
class Silent:
    """Cannot tell where it changed something."""

    max_passes: int = 1

    def advance(self, at: EditStep) -> Tensor:
        return at.z


def test_a_rule_that_cannot_tell_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Silent.* cannot tell where it changes"):
        Masked(Silent(), torch.ones(1, 1, 2, 2)).changed({})


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.full((1, 1, 2, 2), 1.01), r"must lie in \[0, 1\]"),
        (torch.full((1, 1, 2, 2), -0.01), r"must lie in \[0, 1\]"),
        (torch.full((1, 1, 2, 2), float("nan")), r"must lie in \[0, 1\]"),
        (torch.ones(2, 2), "floating-point tensor"),
        (torch.ones(1, 1, 2, 2, dtype=torch.uint8), "floating-point tensor"),
        ("mask.png", "floating-point tensor"),
    ],
)
def test_what_is_no_mask_is_refused(mask: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Masked(PlainSampling(), mask)
    assert caught.value.argument == "mask"


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="rule must be a value with a method advance"):
        Masked(PlainSampling, torch.ones(1, 1, 2, 2))  # type: ignore[arg-type]


def test_a_mask_wants_the_sources_walk() -> None:
    step = EditStep(0, 1, Step(1.0, 1.0, 0.0, 1.0), row(1.0), None, torch.sin, torch.sin)
    with pytest.raises(ConfigError, match="needs the source's latents"):
        Masked(PlainSampling(), row(0.5)).advance(step)
