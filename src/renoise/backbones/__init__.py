"""Model families: a family is one class with its facts, found by the name of the pipeline's class.

The facts must answer without torch, which takes seconds to import. So the modules of this package import torch where
type checkers alone look, and inside the functions that compute with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from renoise.backbones import refused
from renoise.backbones.aura_flow import AuraFlowBackbone
from renoise.backbones.base import Backbone, Condition, Embeddings, Request, Schedule, guided
from renoise.backbones.chroma import ChromaBackbone
from renoise.backbones.cogview4 import CogView4Backbone
from renoise.backbones.flux import FluxBackbone
from renoise.backbones.flux2 import Flux2Backbone
from renoise.backbones.hidream import HiDreamBackbone
from renoise.backbones.hunyuan_dit import HunyuanDiTBackbone
from renoise.backbones.kolors import KolorsBackbone
from renoise.backbones.krea2 import Krea2Backbone
from renoise.backbones.lumina2 import Lumina2Backbone
from renoise.backbones.pipeline import PipelineBackbone
from renoise.backbones.pixart import PixArtBackbone
from renoise.backbones.qwen_image import QwenImage21Backbone, QwenImageBackbone
from renoise.backbones.sana import SanaBackbone, SanaSprintBackbone
from renoise.backbones.sd3 import StableDiffusion3Backbone
from renoise.backbones.unet import StableDiffusionBackbone, StableDiffusionXLBackbone
from renoise.backbones.z_image import ZImageBackbone
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
    "families_by_name",
    "family_of",
    "guided",
    "refusal",
]

_BUILT_IN = (
    StableDiffusionBackbone,
    StableDiffusionXLBackbone,
    StableDiffusion3Backbone,
    FluxBackbone,
    ZImageBackbone,
    Flux2Backbone,
    Krea2Backbone,
    QwenImageBackbone,
    QwenImage21Backbone,
    KolorsBackbone,
    PixArtBackbone,
    HunyuanDiTBackbone,
    SanaBackbone,
    SanaSprintBackbone,
    ChromaBackbone,
    Lumina2Backbone,
    CogView4Backbone,
    AuraFlowBackbone,
    HiDreamBackbone,
)

# The families by the names of their pipelines' classes. Others may add to it (docs/extending.md).
FAMILIES: dict[str, type[PipelineBackbone]] = {
    pipeline: family for family in _BUILT_IN for pipeline in family.pipelines
}


def families_by_name() -> dict[str, type[PipelineBackbone]]:
    """Return the families by their short names.

    Examples:
        >>> families_by_name()["sdxl"].title
        'Stable Diffusion XL'
    """
    families: dict[str, type[PipelineBackbone]] = {}
    for family in FAMILIES.values():
        families.setdefault(family.name, family)  # a class that is made from a family may leave its name as it is
    return families


def family_of(pipe: Any) -> type[PipelineBackbone] | None:
    """Return the family of a diffusers pipeline, by its class or a base of it; None if it is not supported."""
    return next((FAMILIES[cls.__name__] for cls in type(pipe).__mro__ if cls.__name__ in FAMILIES), None)


def backbone_for(pipe: Any) -> Backbone:
    """Return the adapter for a loaded diffusers pipeline.

    Args:
        pipe: a diffusers pipeline, whose components are shared and never changed.

    Raises:
        ModelError: if its family is not supported.
    """
    family = family_of(pipe)
    if family is None:
        raise refusal(cls.__name__ for cls in type(pipe).__mro__)
    return family(pipe)


def refusal(bases: Iterable[str]) -> ModelError:
    """Return the error that a pipeline is not supported, with the reason where it is known.

    Args:
        bases: the name of its class, and those of the classes that it is made from.
    """
    return refused.refusal(bases, [family.title for family in families_by_name().values()])
