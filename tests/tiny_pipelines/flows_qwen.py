"""Tiny pipelines of Qwen-Image, and of Krea 2, which takes its autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    DiffusionPipeline,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)

from .language import qwen_tokenizer
from .language_qwen import TextProcessor, qwen3_vl, qwen25_vl
from .parts import enliven
from .samplers import sampler

# The layers of the language model that Krea 2 hears.
_LAYERS = (1, 2, 3)


def _autoencoder() -> Any:
    """Make Qwen's autoencoder of videos, with statistics for each channel."""
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1 * channel for channel in range(-8, 8)],
        latents_std=[1.0 + 0.05 * channel for channel in range(16)],
    )
    enliven(vae, {"decoder.conv_out": 0.3})
    with torch.no_grad():
        # Log variances, the second half of the outputs, are to be small.
        vae.quant_conv.weight[16:] *= 0.1
        vae.quant_conv.bias[16:] -= 6.0
    return vae


def _qwen_image(name: str) -> Any:
    """Build Qwen-Image."""
    width = 16
    transformer = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=width,
        axes_dims_rope=(4, 6, 6),
    )
    return QwenImagePipeline(
        scheduler=sampler(name),
        vae=_autoencoder(),
        text_encoder=qwen25_vl(width),
        tokenizer=qwen_tokenizer(),
        transformer=enliven(transformer, {"proj_out": 0.2}),
    )


def _qwen_image_21(name: str) -> Any:
    """Build Qwen-Image 2.1: latents of a sixteenth of the image's side, and an autoencoder of four channels."""
    width, channels = 16, 8
    vae = AutoencoderKLQwenImage21(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=channels,
        dim_mult=[1, 1, 2, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1 * channel for channel in range(channels)],
        latents_std=[1.0 + 0.05 * channel for channel in range(channels)],
    )
    enliven(vae, {"decoder.conv_out": 0.3})
    transformer = QwenImage21Transformer2DModel(
        in_channels=channels,
        out_channels=channels,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=width,
        axes_dims_rope=(4, 6, 6),
    )
    return QwenImage21Pipeline(
        scheduler=sampler(name),
        vae=vae,
        text_encoder=qwen3_vl(width, layers=2, causal=True),
        processor=TextProcessor(qwen_tokenizer()),
        transformer=enliven(transformer, {"proj_out": 0.2}),
    )


def _krea2(name: str, *, is_distilled: bool) -> Any:
    """Build Krea 2, or its Turbo."""
    width = 16
    transformer = Krea2Transformer2DModel(
        in_channels=64,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=width,
        num_text_layers=len(_LAYERS),
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    return Krea2Pipeline(
        scheduler=sampler(name),
        vae=_autoencoder(),
        text_encoder=qwen3_vl(width, layers=3),
        tokenizer=qwen_tokenizer(),
        transformer=enliven(transformer, {"final_layer.linear": 0.1}),
        text_encoder_select_layers=_LAYERS,
        is_distilled=is_distilled,
    )


QWEN: Mapping[str, Callable[[str], DiffusionPipeline]] = {
    "krea2": partial(_krea2, is_distilled=False),
    "krea2-turbo": partial(_krea2, is_distilled=True),
    "qwen-image": _qwen_image,
    "qwen-image-2.1": _qwen_image_21,
}
