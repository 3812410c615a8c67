"""Solvers that are put together from parts, as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from renoise import ConfigError, InversionConfig, Renoising
from renoise.config import Walk, presets
from renoise.solvers import (
    Anderson,
    Extrapolated,
    FixedPoint,
    NoisedImage,
    Passes,
    Persistent,
    Residual,
    solver_from,
    solver_record,
)

SOLVERS = [
    Renoising(4, average=(2, 5)),
    FixedPoint(),
    FixedPoint(Extrapolated(2, NoisedImage()), Anderson(5, 1.0), Residual(0.003, 9)),
    Persistent(FixedPoint(stop=Passes(4)), (Renoising(9), FixedPoint()), 0.05),
    Persistent(FixedPoint(), ()),
]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_comes_back_equal(solver: Any) -> None:
    assert solver_from(json.loads(json.dumps(solver_record(solver)))) == solver


@pytest.mark.parametrize("solver", SOLVERS)
def test_so_do_settings_with_a_solver_and_a_walk(solver: Any) -> None:
    config = InversionConfig(num_steps=7, solver=solver, walk=Walk(block=3, together=2))
    assert InversionConfig.from_record(json.loads(json.dumps(config.to_record()))) == config


def test_settings_without_a_walk_have_the_record_of_earlier_versions() -> None:
    assert "walk" not in presets["sdxl-turbo"].to_record()


def nested(depth: int) -> dict[str, Any]:
    record: dict[str, Any] = {"name": "renoising", "iterations": 1}
    for _ in range(depth):
        record = {"name": "persistent", "first": record, "retries": []}
    return record


def lists(depth: int) -> list[Any]:
    record: list[Any] = []
    for _ in range(depth):
        record = [record]
    return record


@pytest.mark.parametrize(
    "record",
    [
        nested(2000),
        {"name": "persistent", "first": {"name": "renoising", "iterations": 1}, "retries": lists(5000)},
        {"name": "persistent", "first": {"name": "renoising", "iterations": 1}, "retries": 3},
        {"name": "persistent", "first": {"name": "passes", "most": 3}},
        {"name": "fixed_point", "start": {"name": "extrapolated", "otherwise": 3}},
        {"name": "fixed_point", "start": {"name": "extrapolated", "otherwise": {"name": "passes", "most": 3}}},
        {"name": "fixed_point", "update": {"name": "damped", "relaxation": 0}},
        {"name": "passes", "most": 3},
        {"name": "fixed_point", "start": {"name": "magic"}},
        {"name": "fixed_point", "update": {"name": "anderson", "depth": 0}},
        {"name": "fixed_point", "stop": {"name": "residual", "tolerance": "small", "most": 3}},
        {"name": "fixed_point", "stop": [1, 2]},
        {"name": "fixed_point", "magic": 1},
        [{"name": "renoising", "iterations": 1}],
    ],
)
def test_a_record_that_is_none_is_refused(record: Any) -> None:
    with pytest.raises(ConfigError):
        solver_from(record)
