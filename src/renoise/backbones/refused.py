"""Pipelines of diffusers that are not inverted, with the reason: those that people are likely to try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from renoise.errors import ModelError
from renoise.escaping import shown

_MOMENTUM = (
    "its guidance has a momentum: a step depends on the predictions of the steps before it, and has no fixed point by "
    "which it could be inverted"
)
_CACHE = (
    "it reuses what its blocks made of an earlier step, so that a step has no fixed point by which it could be inverted"
)
_BY_INSTRUCTION = "it edits an image by an instruction, and draws none from noise and a prompt alone"
_FROM_IMAGE = "its network is shown another image at every step, and draws none from noise and a prompt alone"
_VIDEO = "it draws videos"

# The reasons by the names of the pipelines' classes, and what to take instead; an empty name is nothing in particular.
REASONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "HunyuanImagePipeline": (_MOMENTUM, ""),
        "HunyuanImageRefinerPipeline": (_MOMENTUM, ""),
        "Flux2KleinKVPipeline": (_CACHE, "Flux2KleinPipeline"),
        **dict.fromkeys(("FluxKontextPipeline", "FluxKontextInpaintPipeline"), (_BY_INSTRUCTION, "FluxPipeline")),
        **dict.fromkeys(
            ("QwenImageEditPipeline", "QwenImageEditPlusPipeline", "QwenImageEditInpaintPipeline"),
            (_BY_INSTRUCTION, "QwenImagePipeline"),
        ),
        "QwenImageLayeredPipeline": (_BY_INSTRUCTION, "QwenImagePipeline"),
        "StableDiffusionInstructPix2PixPipeline": (_BY_INSTRUCTION, "StableDiffusionPipeline"),
        **dict.fromkeys(("FluxFillPipeline", "FluxControlPipeline"), (_FROM_IMAGE, "FluxPipeline")),
        "CogView4ControlPipeline": (_FROM_IMAGE, "CogView4Pipeline"),
        **dict.fromkeys(("WanPipeline", "LTXPipeline", "HunyuanVideoPipeline", "SanaVideoPipeline"), (_VIDEO, "")),
    }
)


def refusal(bases: Iterable[str], supported: Iterable[str]) -> ModelError:
    """Return the error that a pipeline is not supported, with the reason where there is one.

    Args:
        bases: the name of its class, and those of the classes that it is made from.
        supported: the titles of the families that are.

    Examples:
        >>> print(refusal(["FluxFillPipeline"], ["FLUX.1"]).remedy)
        ('use FluxPipeline with the same parts',)
    """
    names = list(bases)
    reason, instead = next((REASONS[name] for name in names if name in REASONS), ("", ""))
    because = f": {reason}" if reason else ""
    remedy = f"use {instead} with the same parts" if instead else f"use a pipeline of {', '.join(supported)}"
    return ModelError(f"{shown(names[0], 120)} is not supported{because}", argument="model", remedy=remedy)
