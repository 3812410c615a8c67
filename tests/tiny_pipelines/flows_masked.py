"""Tiny pipelines of Chroma, Lumina 2, CogView 4, AuraFlow and HiDream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DiffusionPipeline,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
)

from .language_masked import (
    gemma2_text,
    gemma_tokenizer,
    glm_text,
    glm_tokenizer,
    llama_text,
    llama_tokenizer,
    umt5_text,
)
from .parts import autoencoder, clip_text, clip_tokenizer, enliven, flow_autoencoder, t5_text, t5_tokenizer
from .samplers import sampler

# Latent elements along a side.
_SIDE = 16
_OUTPUT = {"proj_out": 0.5}
_FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159}


def _chroma(name: str) -> Any:
    """Build Chroma: Flux without its guidance, whose layers are modulated by a network of their own."""
    joint = 24
    transformer = ChromaTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=joint,
        axes_dims_rope=(4, 6, 6),
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=2,
    )
    return ChromaPipeline(
        scheduler=sampler(name),
        vae=flow_autoencoder(**_FLUX_VAE),
        text_encoder=t5_text(joint),
        tokenizer=t5_tokenizer(),
        transformer=enliven(transformer, _OUTPUT),
    )


def _lumina2(name: str) -> Any:
    """Build Lumina 2, whose pipeline takes 8 pixels a latent element whatever its autoencoder does."""
    width = 16
    transformer = Lumina2Transformer2DModel(
        sample_size=_SIDE,
        in_channels=16,
        hidden_size=32,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(300, 64, 64),
        cap_feat_dim=width,
    )
    return Lumina2Pipeline(
        transformer=enliven(transformer, {"norm_out.linear_2": 0.5}),
        scheduler=sampler(name),
        vae=flow_autoencoder(blocks=4, **_FLUX_VAE),
        text_encoder=gemma2_text(width),
        tokenizer=gemma_tokenizer(),
    )


def _cogview4(name: str) -> Any:
    """Build CogView 4."""
    width = 16
    transformer = CogView4Transformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=width,
        time_embed_dim=32,
        condition_dim=8,
        pos_embed_max_size=_SIDE,
        sample_size=_SIDE,
        rope_axes_dim=(16, 16),
    )
    return CogView4Pipeline(
        tokenizer=glm_tokenizer(),
        text_encoder=glm_text(width),
        vae=flow_autoencoder(scaling_factor=1.0),
        transformer=enliven(transformer, _OUTPUT),
        scheduler=sampler(name),
    )


def _aura_flow(name: str) -> Any:
    """Build AuraFlow, with the autoencoder of SDXL."""
    joint = 24
    transformer = AuraFlowTransformer2DModel(
        sample_size=_SIDE,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=joint,
        caption_projection_dim=32,
        pos_embed_max_size=16**2,
    )
    return AuraFlowPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5_text(joint),
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True),
        transformer=enliven(transformer, _OUTPUT),
        scheduler=sampler(name),
    )


def _hidream(name: str) -> Any:
    """Build HiDream: four text encoders, of which CLIP's are longer than usual, and layers with experts."""
    clips, t5, llama, layers = (12, 12), 16, 16, 3
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[t5, llama],
        text_emb_dim=sum(clips),
        num_routed_experts=4,
        num_activated_experts=2,
        axes_dims_rope=(4, 6, 6),
        max_resolution=(32, 32),
        llama_layers=[0, 2],
    )
    # The prediction jumps where a token changes to other experts, and this keeps the jumps small.
    experts = {f"{kind}_stream_blocks.0.block.ff_i.experts": 0.5 for kind in ("double", "single")}
    pipe = HiDreamImagePipeline(
        scheduler=sampler(name),
        vae=flow_autoencoder(**_FLUX_VAE),
        text_encoder=clip_text(clips[0], projection=clips[0], positions=248),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(clips[1], projection=clips[1], openclip=True, positions=248),
        tokenizer_2=clip_tokenizer("!"),
        text_encoder_3=t5_text(t5),
        tokenizer_3=t5_tokenizer(),
        text_encoder_4=llama_text(llama, layers),
        tokenizer_4=llama_tokenizer(),
        transformer=enliven(transformer, {"final_layer.linear": 0.5, **experts}),
    )
    pipe.default_sample_size = _SIDE
    return pipe


MASKED: Mapping[str, Callable[[str], DiffusionPipeline]] = {
    "chroma": _chroma,
    "lumina2": _lumina2,
    "cogview4": _cogview4,
    "aura-flow": _aura_flow,
    "hidream": _hidream,
    "hidream-dev": _hidream,
}
