"""Pipelines that are not inverted say why, and which to take instead."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest

from renoise import Editor, ModelError
from renoise.backbones import FAMILIES
from renoise.backbones.refused import REASONS
from tiny_pipelines import BUILDERS


def test_reasons_are_of_pipelines_that_there_are_and_are_not_supported() -> None:
    for name, (_, instead) in REASONS.items():
        assert hasattr(diffusers, name)
        assert name not in FAMILIES
        assert not instead or instead in FAMILIES


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HunyuanImagePipeline", "momentum: a step depends on the predictions of the steps before it"),
        ("Flux2KleinKVPipeline", "use Flux2KleinPipeline with the same parts"),
        ("QwenImageEditPipeline", "by an instruction, .* use QwenImagePipeline"),
        ("SomePipeline", "SomePipeline is not supported; use a pipeline of Stable Diffusion 1.x and 2.x, .*Z-Image"),
    ],
)
def test_a_refusal_gives_its_reason(name: str, words: str) -> None:
    pipe: Any = BUILDERS["flux2-klein"]()
    pipe.__class__ = type(name, (diffusers.DiffusionPipeline,), {})
    with pytest.raises(ModelError, match=words):
        Editor(pipe)
