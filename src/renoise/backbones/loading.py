"""Finding and loading a pipeline by name: a bundled model, a directory, a single file or a hub repository."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from renoise.errors import ConfigError, ModelError
from renoise.schedulers import SUPPORTED, exchanged

log = logging.getLogger("renoise")

# Each bundled model, and the one that it is an adapter for.
BUNDLED: Mapping[str, str | None] = {"mini": None, "mini-turbo": None, "mini-lcm": "mini"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best one here.

    Raises:
        ConfigError: if it is unknown or not on this machine.
    """
    if device is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        resolved = torch.device(device)
        # Asks for a number back: the device "meta" has tensors, but nothing in them.
        torch.zeros((), device=resolved).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ConfigError(f"device {str(device)!r} is not available on this machine; use cpu, cuda or mps") from error
    return resolved


def resolve_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The floating-point type asked for; by default float16 on a GPU and float32 on a CPU.

    Raises:
        ConfigError: if it is not one of float32, float16 and bfloat16.
    """
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    resolved = DTYPES.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if resolved is None or resolved not in DTYPES.values():
        raise ConfigError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    return resolved


def load_pipeline(name: str | os.PathLike[str], device: torch.device, dtype: torch.dtype, **options: Any) -> Any:
    """Load a diffusers pipeline of one's own, with a scheduler that can be inverted.

    Raises:
        ModelError: if it cannot be found or loaded.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise ModelError(f"a model is named by a string or a path, not {type(name).__name__}")
    base = BUNDLED.get(os.fspath(name))
    source = _locate(base or os.fspath(name))
    try:
        if isinstance(source, Path) and source.is_file():
            pipe = _single_file_class(source).from_single_file(str(source), dtype=dtype, **options)
        else:
            from diffusers import DiffusionPipeline

            pipe = DiffusionPipeline.from_pretrained(str(source), dtype=dtype, **options)
        if base is not None:
            _adapt(pipe, _bundled(os.fspath(name)))
    except ModelError:
        raise
    except Exception as error:  # diffusers and its hub client raise whatever they please: all of it means "not loaded"
        raise ModelError(_why_not_loaded(name, source, error)) from error
    if device.type == "cpu" and dtype == torch.float32 and hasattr(pipe, "unet") and hasattr(pipe, "vae"):
        # Convolutions on a CPU are markedly faster with the channels last; only a pipeline of our own is changed so.
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    _make_invertible(pipe)
    return pipe.to(device)


def _bundled(name: str) -> Path:
    try:
        import renoise_mini
    except ImportError as error:
        raise ModelError(f"the bundled model {name!r} is not installed; run: pip install 'renoise[mini]'") from error
    try:
        return Path(renoise_mini.path(name))
    except ValueError as error:
        raise ModelError(
            f"the installed renoise-mini {getattr(renoise_mini, '__version__', '')} has no model {name!r}; update it: "
            "pip install --upgrade 'renoise[mini]'"
        ) from error


def _adapt(pipe: Any, folder: Path) -> None:
    """Load the LoRA in `folder` into the pipeline, with the scheduler that it was trained for."""
    from diffusers import LCMScheduler

    weights = "pytorch_lora_weights.safetensors"
    if not (folder / weights).is_file():
        raise ModelError(f"{folder} has no {weights}; install renoise-mini again")
    pipe.load_lora_weights(folder, weight_name=weights, adapter_name=folder.name)
    pipe.scheduler = LCMScheduler.from_pretrained(folder, subfolder="scheduler")


def _locate(name: str) -> Path | str:
    if name in BUNDLED:
        return _bundled(name)
    try:
        path = Path(name).expanduser()
        is_folder, is_file = bool(name) and path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"model {name[:80]!r} is not known, and no usable path: {error}") from error
    if is_folder:
        if not (path / "model_index.json").is_file():
            raise ModelError(f"{name} has no model_index.json: it is not a diffusers pipeline directory")
        return path
    if is_file:
        if path.suffix != ".safetensors":
            raise ModelError(f"{name} is not a .safetensors checkpoint; single files of other kinds are not loaded")
        return path
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ModelError(
            f"model {name!r} is not known: it is neither bundled ({', '.join(BUNDLED)}) nor a directory nor a "
            ".safetensors file here, and a model hub name has the form owner/name"
        )
    return name


def _single_file_class(path: Path) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); it may be damaged or cut short"
        ) from error
    if any(key.startswith("conditioner.embedders.1.") for key in keys):
        return StableDiffusionXLPipeline
    if any(key.startswith("cond_stage_model.") for key in keys):
        return StableDiffusionPipeline
    raise ModelError(f"{path} is not a Stable Diffusion or SDXL checkpoint with its text encoders")


def _why_not_loaded(name: str | os.PathLike[str], source: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else f"{reason[:200]}..."
    if isinstance(source, Path):
        return f"model {str(name)!r} cannot be loaded: {reason}"
    return (
        f"model {source!r} cannot be loaded from the model hub or its cache: {reason} "
        "Offline, download it elsewhere and give the directory, or use the bundled model: mini"
    )


def _make_invertible(pipe: Any) -> None:
    """Switch clipping off, and exchange a scheduler of several steps for a single-step one on the same noise levels."""
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        return
    name = type(scheduler).__name__
    clips = scheduler.config.get("clip_sample", False) or scheduler.config.get("thresholding", False)
    if name in SUPPORTED and not clips:
        return
    single = "DDIMScheduler" if hasattr(scheduler, "alphas_cumprod") else "FlowMatchEulerDiscreteScheduler"
    if name not in SUPPORTED:
        log.info("%s cannot be inverted step by step; sampling with %s instead", name, single)
    pipe.scheduler = exchanged(scheduler, name if name in SUPPORTED else single)
