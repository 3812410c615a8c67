"""The facts of flow families: how time is told, and the shifts that diffusers' pipelines compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

from renoise.backbones.flow_facts import ByTokens, Clock, Fixed
from renoise.backbones.flux2 import ByTokensAndSteps

LINE: dict[str, Any] = {"base_image_seq_len": 300, "max_image_seq_len": 5000, "base_shift": 0.4, "max_shift": 0.9}


def test_time_runs_both_ways() -> None:
    timesteps = torch.tensor([1000.0, 250.0, 0.0])
    assert Clock().told(timesteps).tolist() == [1000.0, 250.0, 0.0]
    assert Clock(per=1000.0).told(timesteps).tolist() == [1.0, 0.25, 0.0]
    assert Clock(per=1000.0, rising=True).told(timesteps).tolist() == [0.0, 0.75, 1.0]


@pytest.mark.parametrize("tokens", [1, 256, 1000, 4096, 9000])
def test_a_shift_by_tokens_is_the_pipelines(tokens: int) -> None:
    assert ByTokens().mu({}, tokens, 4) == pytest.approx(calculate_shift(tokens), rel=1e-9)
    assert ByTokens(6400, 1.16).mu({}, tokens, 4) == pytest.approx(calculate_shift(tokens, 256, 6400, 0.5, 1.16))
    assert ByTokens().mu(LINE, tokens, 4) == pytest.approx(calculate_shift(tokens, 300, 5000, 0.4, 0.9))


@pytest.mark.parametrize("num_steps", [1, 4, 50, 200])
@pytest.mark.parametrize("tokens", [16, 4096, 5000])
def test_the_shift_of_flux_2_is_the_pipelines(tokens: int, num_steps: int) -> None:
    assert ByTokensAndSteps().mu({}, tokens, num_steps) == compute_empirical_mu(tokens, num_steps)


def test_a_fixed_shift_asks_nothing() -> None:
    assert Fixed(1.15).mu({}, 1, 2) == Fixed(1.15).mu(LINE, 9, 8) == 1.15
