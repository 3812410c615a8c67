"""Samplers by their names, and which kind of model each is for."""

from __future__ import annotations

import diffusers
import pytest

from renoise import SchedulerError
from renoise.schedulers import SAMPLERS, SUPPORTED, is_flow, kind_of, sampler_class
from renoise.schedulers.names import DIFFUSION, EDM, FLOW, KINDS, TRIGFLOW


def test_a_sampler_is_named_shortly_or_by_its_class() -> None:
    for short, name in SAMPLERS.items():
        assert sampler_class(short) == sampler_class(name) == name
        assert hasattr(diffusers, name)


@pytest.mark.parametrize("name", ["PNDMScheduler", "", "LCM", ["lcm"], None])
def test_unknown_names_are_refused_with_those_that_are_known(name: object) -> None:
    with pytest.raises(SchedulerError, match=r"ddim, .*DDIMScheduler"):
        sampler_class(name)  # type: ignore[arg-type]


def test_every_sampler_is_for_one_kind_of_model() -> None:
    assert sorted((*DIFFUSION, *EDM, *FLOW, *TRIGFLOW)) == sorted(SAMPLERS)
    assert [kind_of(SAMPLERS[short]) for kind in KINDS for short in KINDS[kind]] == [
        kind for kind in KINDS for _ in KINDS[kind]
    ]


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_flow_is_told_by_class_and_by_object_alike(name: str) -> None:
    assert is_flow(name) == is_flow(getattr(diffusers, name)()) == (name in {SAMPLERS[short] for short in FLOW})


@pytest.mark.parametrize(
    ("name", "flow"),
    [("PNDMScheduler", False), ("DPMSolverMultistepScheduler", False), ("FlowMatchHeunDiscreteScheduler", True)],
)
def test_a_flow_is_told_of_samplers_that_are_not_supported(name: str, flow: bool) -> None:
    assert is_flow(getattr(diffusers, name)()) == flow


@pytest.mark.parametrize(
    "name",
    [
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "SASolverScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_samplers_that_serve_several_kinds_are_told_by_their_settings(name: str) -> None:
    cls = getattr(diffusers, name)
    assert kind_of(cls()) == "diffusion"
    assert kind_of(cls(use_flow_sigmas=True, prediction_type="flow_prediction")) == "flow"
    assert kind_of(cls(prediction_type="flow_prediction")) == "flow"


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_edm_is_a_kind_of_its_own(name: str) -> None:
    assert kind_of(getattr(diffusers, name)()) == "edm"


def test_other_kinds_are_not_guessed() -> None:
    assert kind_of(diffusers.CMStochasticIterativeScheduler()) is None
