"""The tiny pipelines of diffusion models outside Stable Diffusion: Kolors, PixArt and HunyuanDiT."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from diffusers import (
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    KolorsPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    UNet2DConditionModel,
)

from .parts import autoencoder, enliven, t5_text, t5_tokenizer
from .samplers import sampler
from .texts import bert_text, bert_tokenizer, chatglm_text, chatglm_tokenizer

# Latent elements along a side, and gains of last layers, as in the other families.
_SIDE = 16
_UNET_OUTPUT = {"conv_out": 0.5}
_TRANSFORMER_OUTPUT = {"proj_out": 0.5}


def own_size(pipe: Any) -> dict[str, Any]:
    """Return the arguments by which a pipeline's call keeps to the size that it is asked for."""
    takes = inspect.signature(type(pipe).__call__).parameters
    return {"use_resolution_binning": False} if "use_resolution_binning" in takes else {}


def kolors(name: str, **config: Any) -> Any:
    """Build Kolors: SDXL's network, with a projection of ChatGLM's embeddings in place of those of two encoders."""
    width, time_ids = 32, 6
    unet = UNet2DConditionModel(
        sample_size=_SIDE,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 16, 24),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=24,
        encoder_hid_dim=width,
        encoder_hid_dim_type="text_proj",
        attention_head_dim=[1, 2, 3],
        transformer_layers_per_block=[1, 1, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=width + 8 * time_ids,
        **config,
    )
    return KolorsPipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True),
        text_encoder=chatglm_text(width),
        tokenizer=chatglm_tokenizer(),
        unet=enliven(unet, _UNET_OUTPUT),
        scheduler=sampler(name),
    )


def pixart(name: str, *, cls: Any = PixArtAlphaPipeline, sample_size: int = _SIDE, **vae: Any) -> Any:
    """Build PixArt: alpha's large models are told the size of the image, those of latents of 128 along a side."""
    captions = 40
    transformer = PixArtTransformer2DModel(
        sample_size=sample_size,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        # Two halves of the width are told the size of the image, and its aspect ratio gets the third.
        attention_head_dim=24,
        num_attention_heads=2,
        cross_attention_dim=48,
        caption_channels=captions,
        attention_bias=True,
    )
    return cls(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_text(captions),
        vae=autoencoder(**(vae or {"scaling_factor": 0.18215})),
        transformer=enliven(transformer, _TRANSFORMER_OUTPUT),
        scheduler=sampler(name),
    )


def hunyuan_dit(name: str, *, sizes: bool) -> Any:
    """Build HunyuanDiT, which is told sizes and a style until version 1.1; its pipeline wants 8 pixels an element."""
    width, wide = 24, 32
    transformer = HunyuanDiT2DModel(
        sample_size=_SIDE,
        patch_size=2,
        in_channels=4,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        hidden_size=32,
        cross_attention_dim=width,
        cross_attention_dim_t5=wide,
        pooled_projection_dim=16,
        use_style_cond_and_image_meta_size=sizes,
    )
    return HunyuanDiTPipeline(
        vae=autoencoder(blocks=4, scaling_factor=0.13025),
        text_encoder=bert_text(width),
        tokenizer=bert_tokenizer(),
        text_encoder_2=t5_text(wide),
        tokenizer_2=t5_tokenizer(),
        transformer=enliven(transformer, _TRANSFORMER_OUTPUT),
        scheduler=sampler(name),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


CLASSIC: dict[str, Callable[[str], Any]] = {
    "kolors": kolors,
    "pixart-alpha": partial(pixart, sample_size=128),
    "pixart-alpha-ddim": partial(pixart, sample_size=128),
    "pixart-sigma-ddim": partial(pixart, cls=PixArtSigmaPipeline, scaling_factor=0.13025, force_upcast=True),
    "pixart-lcm": partial(pixart, sample_size=128),
    "hunyuan-dit": partial(hunyuan_dit, sizes=False),
    "hunyuan-dit-1.1": partial(hunyuan_dit, sizes=True),
}
