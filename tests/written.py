"""Tiny pipelines, their LoRAs and their single files, each made and written once; and a cache of the hub with them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

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
