"""What the original code of transformers calls the layers that diffusers calls otherwise.

Training tools that work with the original code, such as kohya's scripts, ai-toolkit and ComfyUI, write its names, and
one layer of it may be several in diffusers. Diffusers converts such names for some families only, and there only with
some beginnings, for some layers, or for the widths of one released model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """One of the layers that an original layer is in diffusers.

    Attributes:
        layer: the path of the layer.
        rows: the rows of the original's weight that are the layer's, in the layer's order.
    """

    layer: str
    rows: tuple[slice, ...]


# Of each block: how the names of its layers begin in the original and in diffusers, and the names, with several of
# diffusers' where the original has their rows in one weight.
_Blocks = tuple[str, str, Mapping[str, str]]

_QKV, _ADDED = "attn.to_q attn.to_k attn.to_v", "attn.add_q_proj attn.add_k_proj attn.add_v_proj"
_ATTENTION = {
    "img_attn.qkv": _QKV,
    "txt_attn.qkv": _ADDED,
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
}
_EMBEDDERS = {"img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out"}
_FLUX: tuple[_Blocks, ...] = (
    (
        "double_blocks.{}.",
        "transformer_blocks.{}.",
        {
            **_ATTENTION,
            "img_mlp.0": "ff.net.0.proj",
            "img_mlp.2": "ff.net.2",
            "txt_mlp.0": "ff_context.net.0.proj",
            "txt_mlp.2": "ff_context.net.2",
            "img_mod.lin": "norm1.linear",
            "txt_mod.lin": "norm1_context.linear",
        },
    ),
    (
        "single_blocks.{}.",
        "single_transformer_blocks.{}.",
        {"linear1": f"{_QKV} proj_mlp", "linear2": "proj_out", "modulation.lin": "norm.linear"},
    ),
    (
        "",
        "",
        {
            **_EMBEDDERS,
            "final_layer.adaLN_modulation.1": "norm_out.linear",
            "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
            "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
            "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
            "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
            "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
            "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
        },
    ),
)
_CHROMA: tuple[_Blocks, ...] = (
    *_FLUX,
    (
        "distilled_guidance_layer.layers.{}.",
        "distilled_guidance_layer.layers.{}.",
        {"in_layer": "linear_1", "out_layer": "linear_2"},
    ),
)
# Without the modulation of the last norm: diffusers' conversion of LoRAs takes its two halves in another order than its
# conversion of whole checkpoints does, and what it makes of a file counts.
_FLUX2: tuple[_Blocks, ...] = (
    (
        "double_blocks.{}.",
        "transformer_blocks.{}.",
        {
            **_ATTENTION,
            "img_mlp.0": "ff.linear_in",
            "img_mlp.2": "ff.linear_out",
            "txt_mlp.0": "ff_context.linear_in",
            "txt_mlp.2": "ff_context.linear_out",
        },
    ),
    (
        "single_blocks.{}.",
        "single_transformer_blocks.{}.",
        {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"},
    ),
    (
        "",
        "",
        {
            **_EMBEDDERS,
            "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
            "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
            "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
            "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
            "single_stream_modulation.lin": "single_stream_modulation.linear",
            "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
            "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
        },
    ),
)
_SD3: tuple[_Blocks, ...] = (
    (
        "joint_blocks.{}.",
        "transformer_blocks.{}.",
        {
            "x_block.attn.qkv": _QKV,
            "x_block.attn.proj": "attn.to_out.0",
            "x_block.attn2.qkv": "attn2.to_q attn2.to_k attn2.to_v",
            "x_block.attn2.proj": "attn2.to_out.0",
            "x_block.mlp.fc1": "ff.net.0.proj",
            "x_block.mlp.fc2": "ff.net.2",
            "x_block.adaLN_modulation.1": "norm1.linear",
            "context_block.attn.qkv": _ADDED,
            "context_block.attn.proj": "attn.to_add_out",
            "context_block.mlp.fc1": "ff_context.net.0.proj",
            "context_block.mlp.fc2": "ff_context.net.2",
            "context_block.adaLN_modulation.1": "norm1_context.linear",
        },
    ),
    (
        "",
        "",
        {
            "x_embedder.proj": "pos_embed.proj",
            "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
            "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
            "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
            "final_layer.linear": "proj_out",
            "final_layer.adaLN_modulation.1": "norm_out.linear",
        },
    ),
)
_Z_IMAGE_BLOCK = {
    "attention.qkv": "attention.to_q attention.to_k attention.to_v",
    "attention.out": "attention.to_out.0",
}
_Z_IMAGE: tuple[_Blocks, ...] = (
    *(
        (f"{blocks}.{{}}.", f"{blocks}.{{}}.", _Z_IMAGE_BLOCK)
        for blocks in ("layers", "noise_refiner", "context_refiner")
    ),
    (
        "",
        "",
        {
            "x_embedder": "all_x_embedder.2-1",
            "final_layer.linear": "all_final_layer.2-1.linear",
            "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        },
    ),
)
_LUMINA2_BLOCK = {
    "attention.qkv": _QKV,
    "attention.out": "attn.to_out.0",
    **{f"feed_forward.w{i}": f"feed_forward.linear_{i}" for i in (1, 2, 3)},
    "adaLN_modulation.1": "norm1.linear",
}
_LUMINA2: tuple[_Blocks, ...] = (
    *(
        (f"{blocks}.{{}}.", f"{blocks}.{{}}.", _LUMINA2_BLOCK)
        for blocks in ("layers", "noise_refiner", "context_refiner")
    ),
    (
        "",
        "",
        {
            "cap_embedder.1": "time_caption_embed.caption_embedder.1",
            "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
            "final_layer.adaLN_modulation.1": "norm_out.linear_1",
            "final_layer.linear": "norm_out.linear_2",
        },
    ),
)
_KREA2_BLOCK = {
    "attn.wq": "attn.to_q",
    "attn.wk": "attn.to_k",
    "attn.wv": "attn.to_v",
    "attn.wo": "attn.to_out.0",
    "attn.gate": "attn.to_gate",
    **{f"mlp.{layer}": f"ff.{layer}" for layer in ("gate", "up", "down")},
}
_KREA2: tuple[_Blocks, ...] = (
    ("blocks.{}.", "transformer_blocks.{}.", _KREA2_BLOCK),
    ("txtfusion.layerwise_blocks.{}.", "text_fusion.layerwise_blocks.{}.", _KREA2_BLOCK),
    ("txtfusion.refiner_blocks.{}.", "text_fusion.refiner_blocks.{}.", _KREA2_BLOCK),
    (
        "",
        "",
        {
            "first": "img_in",
            "last.linear": "final_layer.linear",
            "tmlp.0": "time_embed.linear_1",
            "tmlp.2": "time_embed.linear_2",
            "tproj.1": "time_mod_proj",
            "txtmlp.1": "txt_in.linear_1",
            "txtmlp.3": "txt_in.linear_2",
            "txtfusion.projector": "text_fusion.projector",
        },
    ),
)
_NETWORKS: Mapping[str, tuple[_Blocks, ...]] = {
    "FluxTransformer2DModel": _FLUX,
    "ChromaTransformer2DModel": _CHROMA,
    "Flux2Transformer2DModel": _FLUX2,
    "SD3Transformer2DModel": _SD3,
    "ZImageTransformer2DModel": _Z_IMAGE,
    "Lumina2Transformer2DModel": _LUMINA2,
    "Krea2Transformer2DModel": _KREA2,
}
# The layer norm of diffusers that has its scale before its shift, where the originals have the shift first.
_SCALE_FIRST = "AdaLayerNormContinuous"


def originals(network: torch.nn.Module) -> dict[str, tuple[Part, ...]]:
    """Return the layers of a network by the original's names; empty if its family has none.

    A name is there with dots, and with underscores in their place.
    """
    named: dict[str, tuple[Part, ...]] = {}
    for beginning, own, layers in _NETWORKS.get(type(network).__name__, ()):
        for number in _numbers(network, own):
            for name, joined in layers.items():
                parts = _parts(network, [own.format(number) + layer for layer in joined.split()])
                if parts:
                    original = beginning.format(number) + name
                    named |= {original: parts, original.replace(".", "_"): parts}
    return named


def _numbers(network: torch.nn.Module, own: str) -> Iterator[int]:
    """Yield the numbers of a kind of block; a single one for layers that are in no block."""
    if "{}" not in own:
        return iter((0,))
    return takewhile(lambda number: _module(network, own.format(number).rstrip(".")) is not None, count())


def _parts(network: torch.nn.Module, paths: list[str]) -> tuple[Part, ...]:
    """Return layers with their rows of one weight; empty if the network lacks one of them."""
    parts: list[Part] = []
    start = 0
    for path in paths:
        module = _module(network, path)
        weight = getattr(getattr(module, "base_layer", module), "weight", None)
        if not isinstance(weight, Tensor):
            return ()
        stop, middle = start + weight.shape[0], start + weight.shape[0] // 2
        holder = _module(network, path.rpartition(".")[0])
        is_turned = type(holder).__name__ == _SCALE_FIRST
        rows = (slice(middle, stop), slice(start, middle)) if is_turned else (slice(start, stop),)
        parts.append(Part(path, rows))
        start = stop
    return tuple(parts)


def _module(network: torch.nn.Module, path: str) -> Any:
    try:
        return network.get_submodule(path)
    except AttributeError:
        return None
