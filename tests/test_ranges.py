"""Settings in their ranges: Python's and numpy's numbers are taken, and nothing that only looks like one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from renoise import ConfigError
from renoise.ranges import MOST, number, truth, whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value: object) -> None:
    taken = whole(value, "num_steps", 1)
    assert (taken, type(taken)) == (3, int)


@pytest.mark.parametrize("value", [True, 3.0, "3", None, 0, -1, np.float64(3.0), [3]])
def test_what_is_no_whole_number_in_range_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="num_steps must be a whole number of at least 1") as caught:
        whole(value, "num_steps", 1)
    assert caught.value.argument == "num_steps"


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), 1, np.int64(1)])
def test_numbers(value: float) -> None:
    taken = number(value, "strength", 0.0, 1.0)
    assert (taken, type(taken)) == (float(value), float)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, -0.1, True, "0.5", None, 10**400])
def test_what_is_no_number_in_range_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="strength must be") as caught:
        number(value, "strength", 0.0, 1.0)
    assert caught.value.argument == "strength"


def test_without_an_upper_bound_a_number_is_finite_all_the_same() -> None:
    assert number(1e11, "eta", 0.0) == 1e11
    for value in (math.inf, 1e300, math.nan):
        with pytest.raises(ConfigError, match="a finite number of at least 0"):
            number(value, "eta", 0.0)


@pytest.mark.parametrize("value", [MOST + 1, 10**400, 10**5000], ids=["beyond", "far", "unwritable"])
def test_whole_numbers_end_somewhere(value: int) -> None:
    assert whole(MOST, "num_steps", 1) == MOST
    with pytest.raises(ConfigError, match="num_steps must be a whole number of at most 1,000,000, not") as caught:
        whole(value, "num_steps", 1)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "taken"), [(True, True), (False, False), (np.bool_(True), True), (0, False), (1, True)]
)
def test_truth_values(value: object, taken: bool) -> None:
    assert truth(value, "force") is taken


@pytest.mark.parametrize("value", [None, "False", 2, 1.0, [], np.array([True]), np.array("x")])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="force must be True or False, not"):
        truth(value, "force")
