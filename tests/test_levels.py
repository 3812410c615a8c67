"""Lists of timesteps and noise levels, as settings."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from renoise import ConfigError, InversionConfig, presets
from renoise.levels import descending


@pytest.mark.parametrize("values", [[999, 500, 1], (999, 500, 1), np.array([999, 500, 1]), torch.tensor([999, 500, 1])])
def test_every_sort_of_list_is_taken(values: Any) -> None:
    config = InversionConfig(num_steps=50, timesteps=values)
    assert (config.timesteps, config.num_steps) == ((999, 500, 1), 3)
    assert InversionConfig.from_record(config.to_record()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "must hold 1 to 10000 numbers, not 0"),
        (count(0), "must hold 1 to 10000 numbers"),
        ([500, 999], "must fall from the noisiest step on, but 999 follows 500"),
        ([500, 500], "500 follows 500"),
        ([500, -1], "at least 0, not -1"),
        ([float("nan")], "not nan"),
        ([float("inf")], "not inf"),
        ([10**400], "finite"),
        (["999"], "must be a number, not '999'"),
        ([True], "must be a number, not True"),
        ("999,500", "must be a list of numbers"),
        (7, "must be a list of numbers, not 7"),
        ({999: 1}, "must be a list of numbers"),
        ([[999], [500]], "must be a number"),
        (range(20_000, 0, -1), "not 20000"),
    ],
)
@pytest.mark.parametrize("name", ["timesteps", "sigmas"])
def test_other_lists_are_refused(name: str, values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        InversionConfig(**{name: values})
    assert caught.value.argument == name


def test_a_zero_at_the_end_is_no_step() -> None:
    assert InversionConfig(sigmas=[14.6, 3.1, 0.4]).num_steps == 3
    assert InversionConfig(sigmas=[14.6, 3.1, 0.4, 0.0]).num_steps == 3
    assert InversionConfig(timesteps=[999, 0]).num_steps == 2
    with pytest.raises(ConfigError, match="above 0"):
        InversionConfig(sigmas=[0.0])
    assert descending(None, "sigmas") is None


def test_one_list_at_a_time() -> None:
    with pytest.raises(ConfigError, match="timesteps and sigmas both name the steps"):
        InversionConfig(timesteps=[999], sigmas=[14.6])


def test_a_number_of_steps_takes_the_place_of_a_list() -> None:
    listed = replace(presets["sd"], timesteps=[999, 500])
    assert listed.num_steps == 2
    assert (listed.overridden(num_steps=7).timesteps, listed.overridden(num_steps=7).num_steps) == (None, 7)
    assert listed.overridden(sigmas=[3.0]).timesteps is None
    assert listed.overridden(seed=3).timesteps == (999, 500)
    with pytest.raises(ConfigError, match="num_steps=5 was given beside a list of 2 steps"):
        listed.overridden(num_steps=5, timesteps=[999, 500])


def test_records_without_lists_are_those_of_earlier_versions() -> None:
    new = ("timesteps", "sigmas", "clip_skip", "guidance_rescale")
    assert not set(new) & set(InversionConfig().to_record())
    given = InversionConfig(sigmas=[3.0, 0.5], clip_skip=1, guidance_rescale=0.7)
    assert set(given.to_record()) - set(InversionConfig().to_record()) == {"sigmas", "clip_skip", "guidance_rescale"}
    assert InversionConfig.from_record(given.to_record()) == given


@pytest.mark.parametrize(
    ("name", "value"), [("clip_skip", -1), ("clip_skip", 1.5), ("guidance_rescale", 1.1), ("guidance_rescale", -0.1)]
)
def test_other_settings_have_their_ranges(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        InversionConfig(**{name: value})
