"""Model families: one file each, found by the pipeline's class."""

from __future__ import annotations

from typing import Any

from renoise.backbones.base import Backbone, Condition, Embeddings, Request, Schedule
from renoise.backbones.flux import FluxBackbone
from renoise.backbones.pipeline import PipelineBackbone
from renoise.backbones.sd3 import StableDiffusion3Backbone
from renoise.backbones.unet import StableDiffusionBackbone, StableDiffusionXLBackbone
from renoise.errors import ModelError

__all__ = [
    "FAMILIES",
    "Backbone",
    "Condition",
    "Embeddings",
    "PipelineBackbone",
    "Request",
    "Schedule",
    "backbone_for",
    "family_of",
]

# By the name of the pipeline's class. Others may add to it (docs/extending.md).
FAMILIES: dict[str, type[PipelineBackbone]] = {
    "StableDiffusionPipeline": StableDiffusionBackbone,
    "StableDiffusionImg2ImgPipeline": StableDiffusionBackbone,
    "LatentConsistencyModelPipeline": StableDiffusionBackbone,
    "StableDiffusionXLPipeline": StableDiffusionXLBackbone,
    "StableDiffusionXLImg2ImgPipeline": StableDiffusionXLBackbone,
    "StableDiffusion3Pipeline": StableDiffusion3Backbone,
    "StableDiffusion3Img2ImgPipeline": StableDiffusion3Backbone,
    "FluxPipeline": FluxBackbone,
    "FluxImg2ImgPipeline": FluxBackbone,
}


def family_of(pipe: Any) -> type[PipelineBackbone] | None:
    """The family of a pipeline, by its class or one that it is made from; None if it is not supported."""
    return next((FAMILIES[cls.__name__] for cls in type(pipe).__mro__ if cls.__name__ in FAMILIES), None)


def backbone_for(pipe: Any) -> Backbone:
    """The adapter for a loaded diffusers pipeline.

    Raises:
        ModelError: if its family is not supported.
    """
    family = family_of(pipe)
    if family is None:
        raise ModelError(
            f"{type(pipe).__name__} is not supported; expected a diffusers pipeline out of {', '.join(FAMILIES)}"
        )
    return family(pipe)
