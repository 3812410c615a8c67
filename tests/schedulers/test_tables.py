"""The tables of steps: one for each supported sampler (that each equals diffusers' is tests/contract's to show)."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest

from renoise import SchedulerError
from renoise.schedulers import SUPPORTED, is_flow, steps_for
from renoise.schedulers.tables import TABLES


def made(name: str, **settings: Any) -> Any:
    """A scheduler that does not clip its samples."""
    clips = {"clip_sample": False} if name in ("DDIMScheduler", "DDPMScheduler") else {}
    return getattr(diffusers, name)(**clips, **settings)


def test_every_supported_sampler_has_a_table() -> None:
    assert set(TABLES) == set(SUPPORTED)


@pytest.mark.parametrize("name", SUPPORTED)
def test_noise_falls_from_step_to_step(name: str) -> None:
    levels = [step.noise_level for step in steps_for(made(name), 4)]
    assert levels == sorted(set(levels), reverse=True)
    assert len(levels) == 4


@pytest.mark.parametrize("name", [name for name in SUPPORTED if not is_flow(name)])
def test_an_unknown_prediction_type_is_refused(name: str) -> None:
    with pytest.raises(SchedulerError, match="prediction_type='magic' is unknown"):
        steps_for(made(name, prediction_type="magic"), 4)
