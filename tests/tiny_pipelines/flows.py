"""Tiny pipelines of the flow families whose text encoders are language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    DiffusionPipeline,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from .language import mistral_text, mistral_tokenizer, qwen3_text, qwen_tokenizer
from .parts import enliven, flow_autoencoder
from .samplers import sampler


def _z_image(name: str) -> Any:
    """Build Z-Image, or Turbo, which differs in its scheduler alone."""
    width = 16
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=48,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=width,
        axes_dims=[8, 8, 8],
        axes_lens=[1024, 256, 256],
    )
    enliven(transformer, {"all_final_layer.2-1.linear": 0.25})
    return ZImagePipeline(
        scheduler=sampler(name),
        vae=flow_autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=qwen3_text(width),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    )


def _flux2_parts(name: str, text_width: int, *, guidance_embeds: bool) -> dict[str, Any]:
    """Return what the pipelines of FLUX.2 have in common."""
    transformer = Flux2Transformer2DModel(
        in_channels=128,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * text_width,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )
    return {
        "scheduler": sampler(name),
        "vae": _flux2_autoencoder(),
        "transformer": enliven(transformer, {"proj_out": 0.2}),
    }


def _flux2(name: str) -> Any:
    """Build FLUX.2 dev: a Mistral text encoder of which three layers are heard, and guidance by an embedding."""
    width = 16
    return Flux2Pipeline(
        **_flux2_parts(name, width, guidance_embeds=True),
        # The pipeline hears the layers 10, 20 and 30.
        text_encoder=mistral_text(width, layers=31),
        tokenizer=mistral_tokenizer(),
    )


def _klein(name: str, *, is_distilled: bool) -> Any:
    """Build FLUX.2 klein: a Qwen text encoder of which three layers are heard, and guidance by a second pass."""
    width = 16
    return Flux2KleinPipeline(
        **_flux2_parts(name, width, guidance_embeds=False),
        # The pipeline hears the layers 9, 18 and 27.
        text_encoder=qwen3_text(width, layers=28, causal=True),
        tokenizer=qwen_tokenizer(),
        is_distilled=is_distilled,
    )


def _flux2_autoencoder() -> Any:
    """Make the autoencoder of FLUX.2, whose latents are standardised by the statistics of a batch norm."""
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        latent_channels=32,
        norm_num_groups=4,
        sample_size=64,
    )
    enliven(vae, {"decoder.conv_out": 0.5})
    with torch.no_grad():
        vae.bn.running_mean.copy_(0.1 * torch.randn(128))
        vae.bn.running_var.copy_(1.0 + 0.3 * torch.rand(128))
    return vae


FLOWS: Mapping[str, Callable[[str], DiffusionPipeline]] = {
    "z-image": _z_image,
    "z-image-turbo": _z_image,
    "flux2-dev": _flux2,
    "flux2-klein": partial(_klein, is_distilled=True),
    "flux2-klein-base": partial(_klein, is_distilled=False),
}
