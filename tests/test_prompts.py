"""Prompts of a batch: which image each belongs to, and how the results are arranged."""

from __future__ import annotations

from typing import Any

import pytest

from renoise import ConfigError
from renoise.prompts import arrange_targets, one_each


def test_one_for_all_or_one_each() -> None:
    assert one_each("a cat", 3, "prompt") == ["a cat"] * 3
    assert one_each(["a", "b"], 2, "prompt") == ["a", "b"]
    assert one_each(("a", ""), 2, "prompt") == ["a", ""]


@pytest.mark.parametrize("text", [["a"], ["a", "b", "c"], 3, None, [1, 2], {"a": "b"}])
def test_prompts_that_do_not_fit_are_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="prompt"):
        one_each(text, 2, "prompt")


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(ConfigError, match="lone surrogate"):
        one_each("a \ud800 cat", 1, "prompt")


@pytest.mark.parametrize(
    ("prompt", "count", "batched", "targets", "shaped"),
    [
        ("a dog", 1, False, [["a dog"]], 0),
        (["a dog", "a fox"], 1, False, [["a dog", "a fox"]], [0, 1]),
        ("a dog", 2, True, [["a dog"], ["a dog"]], [0, 1]),
        (["a dog", "a fox"], 2, True, [["a dog"], ["a fox"]], [0, 1]),
        ([["a dog", "a fox"], ["a moon"]], 2, True, [["a dog", "a fox"], ["a moon"]], [[0, 1], [2]]),
        ([["a dog"]], 1, True, [["a dog"]], [[0]]),
    ],
)
def test_results_are_shaped_as_the_targets_are(
    prompt: Any, count: int, batched: bool, targets: list[list[str]], shaped: Any
) -> None:
    found, shape = arrange_targets(prompt, count, batched)
    assert found == targets
    assert shape(list(range(sum(map(len, found))))) == shaped


@pytest.mark.parametrize("prompt", [[], 3, None, ["a"], [["a"], []], [["a"], "b", "c"], [["a"], [3]]])
def test_targets_that_do_not_fit_a_batch_are_refused(prompt: Any) -> None:
    with pytest.raises(ConfigError):
        arrange_targets(prompt, 2, True)


@pytest.mark.parametrize("bad", ["\ud800", "a cat \udce9", "\udfff\ud83d"])
def test_lone_surrogates_are_refused_wherever_they_stand(bad: str) -> None:
    for texts in (bad, [bad, "a"], ["a", bad]):
        with pytest.raises(ConfigError, match="lone surrogate"):
            one_each(texts, 2, "prompt")
    prompts: list[tuple[Any, bool]] = [(bad, False), (bad, True), (["a", bad], False), (["a", bad], True)]
    prompts += [([["a"], ["b", bad]], True)]
    for prompt, batched in prompts:
        with pytest.raises(ConfigError, match="lone surrogate"):
            arrange_targets(prompt, 2 if batched else 1, batched)
