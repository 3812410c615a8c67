"""Adapters with random weights for the tiny pipelines: LoRA and IP-Adapters, in the files that diffusers loads."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection, IPAdapterTimeImageProjection
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from .parts import enliven, seeded

LORA_FILE = "pytorch_lora_weights.safetensors"
RANK = 2
_NETWORK_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
_TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]

# Of the image encoder: its width, the width of its pooled projection, and the side of the images that it sees.
_WIDTH, _PROJECTION, _IMAGE = 16, 12, 32
_VISION = {
    "hidden_size": _WIDTH,
    "intermediate_size": 2 * _WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": _IMAGE,
    "patch_size": 8,
}
# Diffusers' names of a resampler's layers, and those of the files.
_RESAMPLER = {
    "ln0": "0.norm1",
    "ln1": "0.norm2",
    "attn.to_q": "0.to_q",
    "attn.to_kv": "0.to_kv",
    "attn.to_out.0": "0.to_out",
}
_PLUS = {**_RESAMPLER, "ff.0": "1.0", "ff.1.net.0.proj": "1.1", "ff.1.net.2": "1.3"}
_TIMED = {**_RESAMPLER, "adaln_norm": "1.0", "ff.net.0.proj": "1.1", "ff.net.2": "1.3", "adaln_proj": "2.1"}


def lora(pipe: Any, folder: Path, *, text_encoder: bool = False) -> Path:
    """Write a LoRA for the pipeline's network, which `pipe.load_lora_weights(folder)` loads.

    Args:
        pipe: any of the tiny pipelines; not changed.
        folder: gets `pytorch_lora_weights.safetensors`.
        text_encoder: adapt the CLIP text encoders as well (of Flux and SD 1.x there is one).

    Returns:
        The file.
    """
    name = "unet" if hasattr(pipe, "unet") else "transformer"
    with seeded("lora"):
        layers = {f"{name}_lora_layers": _lora_layers(getattr(pipe, name), _NETWORK_TARGETS)}
        encoders = [n for n in ("text_encoder", "text_encoder_2") if "CLIP" in type(getattr(pipe, n, None)).__name__]
        if text_encoder:
            layers |= {f"{n}_lora_layers": _lora_layers(getattr(pipe, n), _TEXT_TARGETS) for n in encoders}
    pipe.save_lora_weights(folder, **layers)
    return folder / LORA_FILE


def _lora_layers(network: nn.Module, targets: list[str]) -> dict[str, Tensor]:
    adapted: Any = copy.deepcopy(network)
    adapted.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    # PEFT starts them as a change of nothing; half the usual size each makes a change of a quarter.
    return {
        key: 0.5 * torch.randn(weight.shape) / math.sqrt(weight.shape[1])
        for key, weight in get_peft_model_state_dict(adapted).items()
    }


def image_encoder(pipe: Any) -> dict[str, Any]:
    """Return what the pipeline needs to be shown images: `pipe.register_modules(**image_encoder(pipe))`.

    SigLIP for Stable Diffusion 3, CLIP for the others, with the processor that goes with it.
    """
    with seeded("image_encoder"):
        if _is_sd3(pipe):
            return {
                "image_encoder": enliven(SiglipVisionModel(SiglipVisionConfig(**_VISION, vision_use_head=False))),
                "feature_extractor": SiglipImageProcessor(size={"height": _IMAGE, "width": _IMAGE}),
            }
        config = CLIPVisionConfig(**_VISION, projection_dim=_PROJECTION)
        return {
            "image_encoder": enliven(CLIPVisionModelWithProjection(config)),
            "feature_extractor": CLIPImageProcessor(
                size={"shortest_edge": _IMAGE}, crop_size={"height": _IMAGE, "width": _IMAGE}
            ),
        }


def ip_adapter(pipe: Any, folder: Path, *, name: str = "ip-adapter", plus: bool = False) -> dict[str, Any]:
    """Write an IP-Adapter for the pipeline, whose network it takes the sizes from and does not change.

        pipe.register_modules(**image_encoder(pipe))
        pipe.load_ip_adapter(folder, **ip_adapter(pipe, folder))
        pipe("a cat", ip_adapter_image=image)

    Args:
        pipe: any of the tiny pipelines.
        folder: gets `NAME.safetensors`.
        name: adapters of different names have different weights.
        plus: whether a UNet's adapter sees the image encoder's patches and not its pooled projection.

    Returns:
        The further arguments that `pipe.load_ip_adapter` takes to load it without network and image encoder.
    """
    with seeded(name):
        if hasattr(pipe, "unet"):
            weights = _for_unet(pipe.unet, plus=plus)
        elif _is_sd3(pipe):
            weights = _for_sd3(pipe.transformer)
        else:
            weights = _for_flux(pipe.transformer)
    file = f"{name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: weight.contiguous() for key, weight in weights.items()}, folder / file)
    encoder = "image_encoder_pretrained_model_name_or_path" if _is_flux(pipe) else "image_encoder_folder"
    return {"subfolder": "", "weight_name": file, encoder: None}


def _for_unet(unet: Any, *, plus: bool) -> dict[str, Tensor]:
    width = unet.config.cross_attention_dim
    if plus:
        resampler = IPAdapterPlusImageProjection(
            embed_dims=_WIDTH, output_dims=width, hidden_dims=16, heads=1, num_queries=4
        )
        projection = _original(enliven(resampler).state_dict(), _PLUS)
    else:
        projection = _pooled_projection(width)
    attentions = [name.removesuffix(".processor") for name in unet.attn_processors]
    layers = {
        f"{number}.{layer}.weight": enliven(
            nn.Linear(width, unet.get_submodule(name).to_q.out_features)
        ).weight.detach()
        # Self-attention layers are counted, but have no weights.
        for number, name in enumerate(attentions)
        if name.endswith("attn2")
        for layer in ("to_k_ip", "to_v_ip")
    }
    return {**_prefixed("image_proj", projection), **_prefixed("ip_adapter", layers)}


def _for_flux(transformer: Any) -> dict[str, Tensor]:
    width = transformer.config.joint_attention_dim
    layers = {
        f"{number}.processor.ip_adapter_double_stream_{layer}_proj.{key}": weight
        for number in range(transformer.config.num_layers)
        for layer in ("k", "v")
        for key, weight in enliven(nn.Linear(width, transformer.inner_dim)).state_dict().items()
    }
    return {**_prefixed("ip_adapter_proj_model", _pooled_projection(width)), **_prefixed("double_blocks", layers)}


def _for_sd3(transformer: Any) -> dict[str, Tensor]:
    width, hidden = transformer.inner_dim, 16
    resampler = IPAdapterTimeImageProjection(
        embed_dim=_WIDTH, output_dim=width, hidden_dim=hidden, heads=1, num_queries=4, timestep_in_dim=16
    )
    layers = {
        f"{number}.{key}": weight
        for number in range(len(transformer.attn_processors))
        for key, weight in enliven(
            SD3IPAdapterJointAttnProcessor2_0(width, width, transformer.config.attention_head_dim, hidden)
        )
        .state_dict()
        .items()
    }
    projection = _original(enliven(resampler).state_dict(), _TIMED)
    return {**_prefixed("image_proj", projection), **_prefixed("ip_adapter", layers)}


def _pooled_projection(width: int) -> dict[str, Tensor]:
    """Return the weights from the pooled projection to four tokens."""
    projection = enliven(
        ImageProjection(image_embed_dim=_PROJECTION, cross_attention_dim=width, num_image_text_embeds=4)
    )
    return {key.replace("image_embeds", "proj"): weight for key, weight in projection.state_dict().items()}


def _original(resampler: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the weights of a resampler by the names of the files, where keys and values are one matrix."""
    weights = dict(resampler)
    for key in [key for key in weights if key.endswith("to_k.weight")]:
        fused = torch.cat([weights.pop(key), weights.pop(key.replace("to_k", "to_v"))])
        weights[key.replace("to_k", "to_kv")] = fused
    renamed = {}
    for key, weight in weights.items():
        if key.startswith("layers."):
            _, number, rest = key.split(".", 2)
            layer, end = rest.rsplit(".", 1)
            key = f"layers.{number}.{names[layer]}.{end}"
        renamed[key] = weight
    return renamed


def _prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": weight for key, weight in weights.items()}


def _is_sd3(pipe: Any) -> bool:
    return "StableDiffusion3" in type(pipe).__name__


def _is_flux(pipe: Any) -> bool:
    return "Flux" in type(pipe).__name__
