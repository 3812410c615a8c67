"""A Stable Diffusion pipeline as one checkpoint file with the names that CompVis and Stability gave the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

_UNET_ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_UNET_RESNET = {
    ".norm1.": ".in_layers.0.",
    ".conv1.": ".in_layers.2.",
    ".time_emb_proj.": ".emb_layers.1.",
    ".norm2.": ".out_layers.0.",
    ".conv2.": ".out_layers.3.",
    ".conv_shortcut.": ".skip_connection.",
}
_VAE = {
    ".conv_norm_out.": ".norm_out.",
    ".conv_shortcut.": ".nin_shortcut.",
    ".downsamplers.0.": ".downsample.",
    ".upsamplers.0.": ".upsample.",
    ".mid_block.resnets.0.": ".mid.block_1.",
    ".mid_block.resnets.1.": ".mid.block_2.",
    ".mid_block.attentions.0.": ".mid.attn_1.",
    ".resnets.": ".block.",
    ".group_norm.": ".norm.",
    ".to_q.": ".q.",
    ".to_k.": ".k.",
    ".to_v.": ".v.",
    ".to_out.0.": ".proj_out.",
}
_OPENCLIP = {
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
    ".self_attn.": ".attn.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".fc1.": ".c_fc.",
    ".fc2.": ".c_proj.",
}


def single_file(pipe: Any, path: Path) -> Path:
    """Write Stable Diffusion 1.x, 2.x or SDXL as one .safetensors file in the original layout.

    Diffusers reads it offline with the folder of the same pipeline, which says what the weights are of:

        pipe.save_pretrained(folder)
        StableDiffusionPipeline.from_single_file(single_file(pipe, path), config=folder, local_files_only=True)

    Args:
        pipe: one without LCM's condition on the guidance scale, for which the layout has no name; not changed.
        path: of the file; its folder must exist.

    Returns:
        The path.

    Raises:
        ValueError: if the layout has no names for the pipeline's weights.
    """
    if not hasattr(pipe, "unet") or pipe.unet.config.time_cond_proj_dim is not None:
        raise ValueError(
            f"expected Stable Diffusion 1.x, 2.x or SDXL without LCM's condition, not {type(pipe).__name__}"
        )
    weights = {
        **_prefixed("model.diffusion_model.", _unet(pipe.unet)),
        **_prefixed("first_stage_model.", _vae(pipe.vae)),
    }
    if hasattr(pipe, "text_encoder_2"):
        weights |= _prefixed("conditioner.embedders.0.transformer.text_model.", _text(pipe.text_encoder))
        weights |= _prefixed("conditioner.embedders.1.model.", _openclip(pipe.text_encoder_2))
    elif pipe.text_encoder.config.hidden_act == "gelu":
        weights |= _prefixed("cond_stage_model.model.", _openclip(pipe.text_encoder))
    else:
        weights |= _prefixed("cond_stage_model.transformer.text_model.", _text(pipe.text_encoder))
    save_file({key: weight.clone().contiguous() for key, weight in weights.items()}, path)
    return path


def _unet(unet: Any) -> dict[str, Tensor]:
    # Diffusers counts blocks and layers within them, the originals every layer; a block ends with its resampling.
    stride = unet.config.layers_per_block + 1

    def renamed(key: str) -> str:
        if found := re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", key):
            way, block, layers, layer, rest = found.groups()
            first = int(block) * stride
            if layers == "downsamplers":
                return f"input_blocks.{first + stride}.0.op.{rest.removeprefix('conv.')}"
            if layers == "upsamplers":
                place = 2 if hasattr(unet.up_blocks[int(block)], "attentions") else 1
                return f"output_blocks.{first + stride - 1}.{place}.{rest}"
            number = first + int(layer)
            place = 0 if layers == "resnets" else 1
            key = (
                f"input_blocks.{number + 1}.{place}.{rest}"
                if way == "down"
                else f"output_blocks.{number}.{place}.{rest}"
            )
            return _replaced(key, _UNET_RESNET) if layers == "resnets" else key
        inner = _UNET_RESNET if key.startswith("mid_block.resnets.") else {}
        return _replaced(_replaced(key, inner), _UNET_ENDS)

    return {renamed(key): weight for key, weight in unet.state_dict().items()}


def _vae(vae: Any) -> dict[str, Tensor]:
    last = len(vae.config.block_out_channels) - 1

    def renamed(key: str) -> str:
        key = key.replace(".down_blocks.", ".down.")
        # The originals count the decoder's blocks from the image's end.
        key = re.sub(r"\.up_blocks\.(\d)\.", lambda found: f".up.{last - int(found[1])}.", key)
        return _replaced(key, _VAE)

    weights = {renamed(key): weight for key, weight in vae.state_dict().items()}
    # Their attention layers are convolutions of one pixel.
    return {
        key: weight[:, :, None, None] if ".attn_1." in key and weight.ndim == 2 else weight
        for key, weight in weights.items()
    }


def _text(encoder: Any) -> dict[str, Tensor]:
    return {key.removeprefix("text_model."): weight for key, weight in encoder.state_dict().items()}


def _openclip(encoder: Any) -> dict[str, Tensor]:
    weights = _text(encoder)
    if "text_projection.weight" in weights:
        weights["text_projection"] = weights.pop("text_projection.weight").T
    for key in [key for key in weights if ".q_proj." in key]:
        fused = torch.cat([weights.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"])
        weights[key.replace(".q_proj.", ".in_proj_")] = fused
    return {_replaced(key, _OPENCLIP): weight for key, weight in weights.items()}


def _replaced(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        key = key.replace(old, new)
    return key


def _prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": weight for key, weight in weights.items()}
