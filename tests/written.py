"""Tiny pipelines, their LoRAs and their single files, each made and written once; and a cache of the hub with them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiny_pipelines import BUILDERS, image_encoder, ip_adapter, lora, single_file  # type: ignore[import-not-found, unused-ignore]


@cache
def built(name: str) -> Any:
    """Return the tiny pipeline of that name; it is shared, and not to be changed."""
    return BUILDERS[name]()


def folder_of(name: str, place: Path) -> Path:
    """Return the tiny pipeline as a folder below `place`."""
    if not (place / name).exists():
        built(name).save_pretrained(place / name)
    return place / name


def lora_for(name: str, place: Path) -> Path:
    """Return a folder with LoRA weights for the tiny pipeline."""
    folder = place / f"lora.{name}"
    if not folder.exists():
        lora(built(name), folder)
    return folder


def file_of(name: str, place: Path) -> Path:
    """Return the tiny pipeline as a single file."""
    path = place / f"{name}.safetensors"
    return path if path.exists() else Path(single_file(built(name), path))


def with_ip_adapter(name: str, folder: Path, **options: Any) -> Any:
    """Return a tiny pipeline with an IP-Adapter, whose weights are written to the folder."""
    pipe: Any = BUILDERS[name]()
    pipe.register_modules(**image_encoder(pipe))
    pipe.load_ip_adapter(folder, **ip_adapter(pipe, folder, **options))
    pipe.set_ip_adapter_scale(0.7)
    return pipe


def network_of(pipe: Any) -> Any:
    """Return the pipeline's denoising network."""
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def in_cache(folder: Path, cache_dir: Path, name: str = "me/model") -> Path:
    """Put a folder into a cache of the hub, under that name, and return its snapshot."""
    repository = cache_dir / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return snapshot


def assert_same_weights(pipe: Any, other: Any) -> None:
    """Check that the networks of a pipeline have the weights of those of another one."""
    for name, part in other.components.items():
        if isinstance(part, torch.nn.Module):
            ours = getattr(pipe, name).state_dict()
            assert all(torch.equal(ours[key], weight) for key, weight in part.state_dict().items()), name


def original_sd3(transformer: Any) -> dict[str, Tensor]:
    """The weights of an SD3 transformer by the names that Stability gave them."""
    names = {
        "pos_embed.pos_embed": "pos_embed",
        "pos_embed.proj.": "x_embedder.proj.",
        "time_text_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
        "time_text_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
        "time_text_embed.text_embedder.linear_1.": "y_embedder.mlp.0.",
        "time_text_embed.text_embedder.linear_2.": "y_embedder.mlp.2.",
        "norm_out.linear.": "final_layer.adaLN_modulation.1.",
        "proj_out.": "final_layer.linear.",
        "transformer_blocks.": "joint_blocks.",
        ".norm1.linear.": ".x_block.adaLN_modulation.1.",
        ".norm1_context.linear.": ".context_block.adaLN_modulation.1.",
        ".attn.to_out.0.": ".x_block.attn.proj.",
        ".attn.to_add_out.": ".context_block.attn.proj.",
        ".ff.net.0.proj.": ".x_block.mlp.fc1.",
        ".ff.net.2.": ".x_block.mlp.fc2.",
        ".ff_context.net.0.proj.": ".context_block.mlp.fc1.",
        ".ff_context.net.2.": ".context_block.mlp.fc2.",
    }
    weights = dict(transformer.state_dict())
    last = len(transformer.transformer_blocks) - 1
    for block in range(last + 1):
        for end in ("weight", "bias"):
            for parts, target in (
                (("to_q", "to_k", "to_v"), "x"),
                (("add_q_proj", "add_k_proj", "add_v_proj"), "context"),
            ):
                own = [weights.pop(f"transformer_blocks.{block}.attn.{part}.{end}") for part in parts]
                weights[f"joint_blocks.{block}.{target}_block.attn.qkv.{end}"] = torch.cat(own)
    swapped = (f"transformer_blocks.{last}.norm1_context.", "norm_out.")
    for key in [key for key in weights if key.startswith(swapped)]:
        weights[key] = torch.cat(weights[key].chunk(2)[::-1])  # the originals shift before they scale
    for old, new in names.items():
        weights = {key.replace(old, new): value for key, value in weights.items()}
    return {f"model.diffusion_model.{key}": value.clone().contiguous() for key, value in weights.items()}
