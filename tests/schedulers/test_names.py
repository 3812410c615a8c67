"""Samplers by their names, and which kind of model each is for."""

from __future__ import annotations

import diffusers
import pytest

from renoise import SchedulerError
from renoise.schedulers import SAMPLERS, SUPPORTED, is_flow, sampler_class
from renoise.schedulers.names import DIFFUSION, FLOW


def test_a_sampler_is_named_shortly_or_by_its_class() -> None:
    for short, name in SAMPLERS.items():
        assert sampler_class(short) == sampler_class(name) == name
        assert hasattr(diffusers, name)


@pytest.mark.parametrize("name", ["PNDMScheduler", "", "LCM", ["lcm"], None])
def test_unknown_names_are_refused_with_those_that_are_known(name: object) -> None:
    with pytest.raises(SchedulerError, match=r"ddim, .*DDIMScheduler"):
        sampler_class(name)  # type: ignore[arg-type]


def test_every_sampler_is_for_diffusion_or_for_flows() -> None:
    assert set(DIFFUSION) | set(FLOW) == set(SAMPLERS)
    assert not set(DIFFUSION) & set(FLOW)


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_flow_is_told_by_class_and_by_object_alike(name: str) -> None:
    assert is_flow(name) == is_flow(getattr(diffusers, name)()) == (name == "FlowMatchEulerDiscreteScheduler")


@pytest.mark.parametrize(
    ("name", "flow"),
    [("PNDMScheduler", False), ("DPMSolverMultistepScheduler", False), ("FlowMatchHeunDiscreteScheduler", True)],
)
def test_a_flow_is_told_of_samplers_that_are_not_supported(name: str, flow: bool) -> None:
    assert is_flow(getattr(diffusers, name)()) == flow
