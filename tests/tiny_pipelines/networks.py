"""Pipelines of which there is no more than a tiny denoising network: enough to load adapters into."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from .parts import seeded

_FLUX = {
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
}
# The network and the sizes of each pipeline, by the name of its class.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "FluxPipeline": ("FluxTransformer2DModel", {**_FLUX, "pooled_projection_dim": 8, "axes_dims_rope": (2, 2, 4)}),
    "ChromaPipeline": (
        "ChromaTransformer2DModel",
        {**_FLUX, "axes_dims_rope": (2, 2, 4), "approximator_num_channels": 8, "approximator_hidden_dim": 8},
    ),
    "Flux2KleinPipeline": (
        "Flux2Transformer2DModel",
        {**_FLUX, "timestep_guidance_channels": 8, "axes_dims_rope": (2, 2, 2, 2)},
    ),
    "Flux2Pipeline": (
        "Flux2Transformer2DModel",
        {**_FLUX, "timestep_guidance_channels": 8, "axes_dims_rope": (2, 2, 2, 2)},
    ),
    "ZImagePipeline": (
        "ZImageTransformer2DModel",
        {
            "in_channels": 4,
            "dim": 16,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "cap_feat_dim": 12,
            "axes_dims": [2, 2, 4],
            "axes_lens": [32, 32, 32],
        },
    ),
    "QwenImagePipeline": (
        "QwenImageTransformer2DModel",
        {
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (2, 2, 4),
        },
    ),
    "Krea2Pipeline": (
        "Krea2Transformer2DModel",
        {
            "in_channels": 16,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 24,
            "timestep_embed_dim": 8,
            "text_hidden_dim": 16,
            "num_text_layers": 2,
            "text_num_attention_heads": 2,
            "text_num_key_value_heads": 2,
            "text_intermediate_size": 24,
            "num_layerwise_text_blocks": 1,
            "num_refiner_text_blocks": 1,
            "axes_dims_rope": (2, 2, 4),
        },
    ),
    "SanaPipeline": (
        "SanaTransformer2DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 12,
        },
    ),
    "Lumina2Pipeline": (
        "Lumina2Transformer2DModel",
        {
            "in_channels": 4,
            "hidden_size": 24,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 8,
            "cap_feat_dim": 12,
            "axes_dim_rope": (4, 4, 4),
            "axes_lens": (32, 32, 32),
        },
    ),
    "CogView4Pipeline": (
        "CogView4Transformer2DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "text_embed_dim": 12,
            "time_embed_dim": 8,
            "condition_dim": 4,
        },
    ),
    "AuraFlowPipeline": (
        "AuraFlowTransformer2DModel",
        {
            "sample_size": 16,
            "num_mmdit_layers": 1,
            "num_single_dit_layers": 1,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "pos_embed_max_size": 64,
        },
    ),
    "HiDreamImagePipeline": (
        "HiDreamImageTransformer2DModel",
        {
            "patch_size": 2,
            "in_channels": 4,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "caption_channels": [12, 16],
            "text_emb_dim": 12,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "axes_dims_rope": (4, 2, 2),
            "max_resolution": (16, 16),
            "llama_layers": [0, 0],
        },
    ),
}


def network_alone(name: str, *, device: str = "cpu", **sizes: Any) -> DiffusionPipeline:
    """Return a pipeline of a class of diffusers with its tiny network, random weights, and nothing else.

    Args:
        name: the class, one of `NETWORKS`.
        device: "meta" for a network without data, which may then be of any size.
        sizes: settings of the network that replace the tiny ones.
    """
    kind, tiny = NETWORKS[name]
    cls: Any = getattr(diffusers, name)
    with seeded(name), torch.device(device):
        network = getattr(diffusers, kind)(**{**tiny, **sizes})
    wanted = [p.name for p in inspect.signature(cls).parameters.values() if p.default is inspect.Parameter.empty]
    made: DiffusionPipeline = cls(**{**dict.fromkeys(wanted), "transformer": network})
    return made
