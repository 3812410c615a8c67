"""Tiny pipelines of Sana and SANA-Sprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import AutoencoderDC, DiffusionPipeline, SanaPipeline, SanaSprintPipeline, SanaTransformer2DModel

from .language_masked import gemma2_text, gemma_tokenizer
from .parts import enliven
from .samplers import sampler


def _parts(name: str, **config: Any) -> dict[str, Any]:
    """Return what the pipelines of both have in common."""
    width, blocks = 16, (8, 8, 16, 16)
    vae = AutoencoderDC(
        latent_channels=8,
        attention_head_dim=8,
        encoder_block_out_channels=blocks,
        decoder_block_out_channels=blocks,
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,)),
        encoder_block_types=["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"],
        decoder_block_types=["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"],
        scaling_factor=0.41407,
    )
    transformer = SanaTransformer2DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=width,
        sample_size=32,
        **config,
    )
    return {
        "tokenizer": gemma_tokenizer(),
        "text_encoder": gemma2_text(width),
        "vae": enliven(vae, {"decoder.conv_out": 0.5}),
        "transformer": enliven(transformer, {"proj_out": 0.2}),
        "scheduler": sampler(name),
    }


def _sana(name: str) -> Any:
    """Build Sana."""
    return SanaPipeline(**_parts(name))


def _sana_sprint(name: str) -> Any:
    """Build SANA-Sprint, whose network is told the guidance scale."""
    return SanaSprintPipeline(**_parts(name, guidance_embeds=True, qk_norm="rms_norm_across_heads"))


SANA: Mapping[str, Callable[[str], DiffusionPipeline]] = {"sana": _sana, "sana-sprint": _sana_sprint}
