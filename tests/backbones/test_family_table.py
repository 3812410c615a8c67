"""The families' facts fit each other, and are known without torch."""

from __future__ import annotations

import inspect
import subprocess
import sys

import diffusers
import pytest

from renoise import presets
from renoise.backbones import FAMILIES, PipelineBackbone, families_by_name
from renoise.loading.pipelines import DTYPES
from renoise.schedulers import SAMPLERS, is_flow


def test_every_pipeline_has_one_family() -> None:
    assert {pipeline: family for family in families_by_name().values() for pipeline in family.pipelines} == FAMILIES


@pytest.mark.parametrize("family", families_by_name().values(), ids=lambda family: family.name)
def test_facts_refer_to_what_there_is(family: type[PipelineBackbone]) -> None:
    assert all(hasattr(diffusers, pipeline) for pipeline in family.pipelines)
    assert {is_flow(SAMPLERS[sampler]) for sampler in family.samplers} == {family.flow}
    assert family.precision in DTYPES
    assert family.preset in presets


def test_settings_have_the_steps_that_pipelines_take_without_being_told() -> None:
    """Of the families that this project did not measure one by one."""
    for name in ("chroma", "lumina2", "cogview4", "aura-flow", "hidream"):
        family = families_by_name()[name]
        call = inspect.signature(getattr(diffusers, family.pipelines[0]).__call__).parameters
        assert presets[family.preset].num_steps == call["num_inference_steps"].default


def test_the_facts_are_known_without_torch() -> None:
    code = (
        "import sys; from renoise.backbones import FAMILIES; print({'torch', 'numpy', 'diffusers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
