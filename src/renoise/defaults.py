"""What suits a pipeline if nobody says otherwise: its preset, and the guidance scale of its edits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from renoise.backbones import PipelineBackbone, family_of
from renoise.config import InversionConfig

# The guidance scale of an edit by a model of many steps. Judged by eye on the bundled model's first twelve held-out
# images: 1 leaves many objects half changed, 1.5 changes them as much as 2 does and keeps more of the rest, and from 3
# on shapes and colours go that the new prompt does not ask to change.
EDIT_GUIDANCE = 1.5


def preset_name(pipe: Any) -> str:
    """Return the key in `renoise.presets` of the settings that suit a diffusers pipeline.

    Examples:
        >>> preset_name(pipe)  # doctest: +SKIP
        'sdxl-turbo'
    """
    return (family_of(pipe) or PipelineBackbone).preset_for(pipe)


def preset_for(pipe: Any, variant: str | None = None) -> InversionConfig:
    """Return the preset for a diffusers pipeline, as `InversionConfig.for_pipeline` does.

    Args:
        pipe: a diffusers pipeline.
        variant: see `InversionConfig.for_pipeline`.

    Raises:
        ConfigError: if the variant is unknown.

    Examples:
        >>> preset_for(pipe).num_steps  # doctest: +SKIP
        50
    """
    return InversionConfig.for_pipeline(pipe, variant)


def edit_guidance(preset: InversionConfig) -> float:
    """Return the guidance scale that suits edits with the model of a preset, whose inversion was not guided.

    It is the weight of the predictions with the target prompt, as for pipelines in which 1 is no guidance.
    """
    return 1.0 if preset.few_steps or preset.walking.direct else EDIT_GUIDANCE


def edit_guidance_for(pipe: Any, config: InversionConfig | None = None) -> float:
    """Return the guidance scale that suits an edit with a pipeline.

    After a guided inversion it is the inversion's scale. Otherwise it is what diffusers tells networks that take the
    scale as an input, and none for those that take none or are distilled to draw without. For other networks it is
    what suits the length of the model's schedule, or none after a direct walk, whose edits release what holds them back
    (docs/editing.md has the numbers).

    Args:
        pipe: a diffusers pipeline.
        config: the settings of the inversion; None is one without guidance.
    """
    family = family_of(pipe) or PipelineBackbone
    if config is not None and config.guidance_scale > family.unguided:
        return config.guidance_scale
    guidance = family.built_in_guidance(pipe)
    if guidance is not None:
        return guidance
    if family.takes_true_cfg or family.distilled(pipe):
        return family.unguided
    preset = InversionConfig.for_pipeline(pipe)
    own = edit_guidance(preset if config is None else replace(preset, walk=config.walk))
    return own - 1.0 + family.unguided
