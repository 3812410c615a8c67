"""The tiny pipelines: the real models' architectures and configurations, with few and random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from .classic import CLASSIC
from .flows import FLOWS
from .flows_masked import MASKED
from .flows_qwen import QWEN
from .flows_sana import SANA
from .parts import autoencoder, clip_text, clip_tokenizer, enliven, flow_autoencoder, seeded, t5_text, t5_tokenizer
from .samplers import SAMPLERS, SEVERAL_STEPS, sampler

# Latent elements along a side: 64 pixels, but for Flux, whose pipeline's default size is its own.
SIDE = 16
# The last layers of the networks, and gains that keep a few steps of sampling within bounds.
_UNET_OUTPUT = {"conv_out": 0.5}
_TRANSFORMER_OUTPUT = {"proj_out": 0.5}


def _stable_diffusion(name: str, *, openclip: bool = False, cls: Any = StableDiffusionPipeline, **config: Any) -> Any:
    """Build Stable Diffusion 1.x, or 2.x with OpenCLIP's text encoder."""
    width = 24 if openclip else 16
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=width,
        # Diffusers takes this for the number of heads, in the real models too.
        attention_head_dim=[2, 4] if openclip else 2,
        use_linear_projection=openclip,
        **config,
    )
    return cls(
        vae=autoencoder(scaling_factor=0.18215),
        # OpenCLIP's last layer is not used, and the real repositories leave it out.
        text_encoder=clip_text(width, layers=1 if openclip else 2, openclip=openclip),
        tokenizer=clip_tokenizer("!" if openclip else "<|endoftext|>"),
        unet=enliven(unet, _UNET_OUTPUT),
        scheduler=sampler(name),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(name: str, **config: Any) -> Any:
    """Build SDXL: two text encoders, and a condition on sizes and crop."""
    widths, time_ids = (16, 24), 6
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 16, 24),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=sum(widths),
        attention_head_dim=[1, 2, 3],
        transformer_layers_per_block=[1, 1, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=widths[1] + 8 * time_ids,
        **config,
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True),
        text_encoder=clip_text(widths[0]),
        text_encoder_2=clip_text(widths[1], projection=widths[1], openclip=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer("!"),
        unet=enliven(unet, _UNET_OUTPUT),
        scheduler=sampler(name),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _sd3(name: str, *, t5: bool = True, **config: Any) -> Any:
    """Build Stable Diffusion 3 or 3.5: three text encoders, of which the third may be left out."""
    widths, joint = (16, 24), 48
    transformer = SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=joint,
        caption_projection_dim=32,
        pooled_projection_dim=sum(widths),
        pos_embed_max_size=24,
        **config,
    )
    return StableDiffusion3Pipeline(
        transformer=enliven(transformer, _TRANSFORMER_OUTPUT),
        scheduler=sampler(name),
        vae=flow_autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip_text(widths[0], projection=widths[0]),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(widths[1], projection=widths[1], openclip=True),
        tokenizer_2=clip_tokenizer("!"),
        text_encoder_3=t5_text(joint) if t5 else None,
        tokenizer_3=t5_tokenizer() if t5 else None,
    )


def _flux(name: str, *, guidance_embeds: bool) -> Any:
    """Build FLUX.1, which is guided by an embedding (dev) or not at all (schnell)."""
    width, joint = 16, 40
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=joint,
        pooled_projection_dim=width,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=sampler(name),
        vae=flow_autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip_text(width),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(joint),
        tokenizer_2=t5_tokenizer(),
        transformer=enliven(transformer, _TRANSFORMER_OUTPUT),
    )


_FAMILIES: dict[str, Callable[[str], DiffusionPipeline]] = {
    "sd15": _stable_diffusion,
    "sd15-ddim": _stable_diffusion,
    "sd21-v": partial(_stable_diffusion, openclip=True, upcast_attention=True),
    "sd21-zsnr": partial(_stable_diffusion, openclip=True, upcast_attention=True),
    "sd-turbo": partial(_stable_diffusion, openclip=True),
    "lcm": partial(_stable_diffusion, cls=LatentConsistencyModelPipeline, time_cond_proj_dim=16),
    "sdxl": _sdxl,
    "sdxl-turbo": _sdxl,
    "sdxl-lcm": partial(_sdxl, time_cond_proj_dim=16),
    "sd3": _sd3,
    "sd3-no-t5": partial(_sd3, t5=False),
    "sd35": partial(_sd3, qk_norm="rms_norm", dual_attention_layers=(0,)),
    "sd35-dynamic": partial(_sd3, qk_norm="rms_norm", dual_attention_layers=(0,)),
    "flux-dev": partial(_flux, guidance_embeds=True),
    "flux-schnell": partial(_flux, guidance_embeds=False),
    **FLOWS,
    **QWEN,
    **CLASSIC,
    **SANA,
    **MASKED,
}


def build(name: str) -> DiffusionPipeline:
    """Build the tiny pipeline with that name: float32, on the CPU, the same weights every time."""
    with seeded(name):
        pipe = _FAMILIES[name](name)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# Families whose tests are those of tests/contract/test_families.py, which ask the family itself how it is guided.
NEWER: tuple[str, ...] = tuple(name for name in (*FLOWS, *QWEN, *SANA, *CLASSIC, *MASKED) if name not in SEVERAL_STEPS)

BUILDERS: Mapping[str, Callable[[], DiffusionPipeline]] = {name: partial(build, name) for name in SAMPLERS}
