"""The settings that suit a model without being asked for, as data.

The paper's (Garibi et al., 2024, arXiv 2403.14602, Table 3), those of its published code, plain sampler reversing, and
this project's own for flow models, which the paper does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from renoise.config import EditLosses, InversionConfig, NoiseCorrection, Renoising
from renoise.errors import ConfigError

VARIANTS = ("paper", "released", "reverse")
# Schedules that are no longer belong to distilled models, whose guidance is built in.
FEW_STEPS = 8
# Guidance of an edit whose inversion was not guided. Judged by eye on the bundled model's first twelve held-out
# images: 1 leaves many objects half changed, 1.5 changes them as much as 2 does and keeps more of the rest, and from
# 3 on shapes and colours go that the new prompt does not ask to change.
EDIT_GUIDANCE = 1.5


def preset_for(pipe: Any, variant: str = "paper") -> InversionConfig:
    """The preset for a diffusers pipeline (see `InversionConfig.for_pipeline`, which is this).

    Raises:
        ConfigError: if the variant is unknown.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"preset {variant!r} is unknown; use one of {', '.join(VARIANTS)}")
    name = preset_name(pipe)
    own = presets[name]
    if variant == "released":
        own = presets["released" if own.num_steps <= FEW_STEPS else "released-many-step"]
    elif variant == "reverse":
        own = own.reversing()
    guidance = _built_in_guidance(pipe)
    # LCMs are distilled with guidance scales well above 1 (Luo et al., 2023, arXiv 2310.04378). Flux dev, which is told
    # one as well, is inverted at 1, where its velocity is that of the prompt alone.
    return own if guidance is None or not name.startswith("lcm") else replace(own, guidance_scale=guidance)


def preset_name(pipe: Any) -> str:
    """The key in `presets` of the settings that suit a pipeline, from its family, its scheduler and its adapters.

    LCM and TCD schedulers take "lcm-lora" where an adapter is loaded and "lcm" where none is, Euler-type ones with
    trailing spacing (how SDXL Turbo and SD Turbo are shipped) "sdxl-turbo" or "sd-turbo", and other pipelines of these
    families "sdxl" or "sd". Flow models take "sd3", and Flux "flux" where the guidance scale is an input of the network
    and "flux-schnell" where it is none.
    """
    family, scheduler = _family(pipe), type(pipe.scheduler).__name__
    preset = "sd" if family is None else family.preset
    if preset == "flux":
        return "flux-schnell" if _built_in_guidance(pipe) is None else "flux"
    if scheduler in ("LCMScheduler", "TCDScheduler"):
        # A dictionary of adapters is what peft leaves on a network that carries any.
        return "lcm-lora" if getattr(getattr(pipe, "unet", None), "peft_config", None) else "lcm"
    if scheduler.startswith("Euler") and pipe.scheduler.config.get("timestep_spacing") == "trailing":
        return f"{preset}-turbo"
    return preset


def _family(pipe: Any) -> Any:
    from renoise.backbones import family_of  # with torch, which a pipeline has loaded by now

    return family_of(pipe)


def _built_in_guidance(pipe: Any) -> float | None:
    family = _family(pipe)
    guidance: float | None = None if family is None else family.built_in_guidance(pipe)
    return guidance


def edit_guidance(preset: InversionConfig) -> float:
    """The guidance scale that suits edits with the model of a preset, whose inversion was not guided."""
    return 1.0 if preset.num_steps <= FEW_STEPS else EDIT_GUIDANCE


def edit_guidance_for(pipe: Any) -> float:
    """The guidance scale that suits edits with a pipeline: diffusers' own where it is an input of the network."""
    guidance = _built_in_guidance(pipe)
    return edit_guidance(preset_for(pipe)) if guidance is None else guidance


# Passes after the last one with a weight change nothing, so the presets leave them out: the paper's w1..w4 of ten
# passes at low noise are four passes. The paper does not say how far its noise correction moves. Half the way is the
# least, in steps of a half, with which the bundled few-step models' reconstructions come about as near to the
# autoencoder's round trip as that is to the image; every further step costs edits (docs/results.md).
_CORRECTION = NoiseCorrection(amount=0.5)
_TURBO = InversionConfig(
    num_steps=4,
    renoising=Renoising(9, average=(7, 10)),
    renoising_low_noise=Renoising(3, average=(0, 4)),
    edit_losses=EditLosses(pair=10.0, patch_kl=0.055),
    noise_correction=_CORRECTION,
)
_LCM = InversionConfig(
    num_steps=4,
    renoising=Renoising(7, average=(5, 8)),
    renoising_low_noise=Renoising(3, average=(0, 4)),
    edit_losses=EditLosses(pair=20.0, patch_kl=0.075),
    noise_correction=_CORRECTION,
)
# Measured on the bundled model seen as a flow (benchmarks/flow.py): with 28 steps one iteration reaches the
# autoencoder's bound and an average falls behind it; with four, whose estimates circle the solution, the average of the
# last two of five is best for its passes. Edit losses gain nothing measurable in schedules of that many steps.
_FLOW = InversionConfig(num_steps=28, renoising=Renoising(1))
_FEW_STEP_FLOW = InversionConfig(num_steps=4, renoising=Renoising(4, average=(3, 5)))
_MANY_STEPS = InversionConfig(num_steps=50, renoising=Renoising(1), renoising_low_noise=Renoising(1, average=(0, 2)))

presets: Mapping[str, InversionConfig] = MappingProxyType(
    {
        "sd": replace(_MANY_STEPS, edit_losses=EditLosses(pair=10.0, patch_kl=0.05)),
        "sdxl": replace(_MANY_STEPS, edit_losses=EditLosses(pair=10.0, patch_kl=0.055)),
        "sd-turbo": _TURBO,
        "sdxl-turbo": _TURBO,
        "lcm-lora": _LCM,
        "lcm": _LCM,
        "sd3": _FLOW,
        "flux": _FLOW,
        "flux-schnell": _FEW_STEP_FLOW,
        # What the published code does without being told otherwise.
        "released": InversionConfig(
            num_steps=4,
            renoising=Renoising(9, average=(8, 10)),
            renoising_low_noise=Renoising(5, average=(0, 5)),
            edit_losses=EditLosses.released(),
            noise_correction=NoiseCorrection.released(),
        ),
        # Its settings for 50 DDIM steps, but for its edit losses. From timestep 250 on its windows begin after the
        # second and last pass, so that it averages and regularises nothing there; below, it does both, and losses for
        # some of the timesteps alone are nothing that these settings can say.
        "released-many-step": _MANY_STEPS,
        "reverse": InversionConfig(num_steps=50, renoising=Renoising(0)),
    }
)
