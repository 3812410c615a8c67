"""Inversions on disk: one safetensors file with tensors and a JSON record, written whole and read with suspicion."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from renoise.errors import ConfigError, StorageError, reason
from renoise.files import write_atomically
from renoise.image_files import MAX_PIXELS
from renoise.images import FITS, Fit
from renoise.prompts import one_each

# A single metadata key: safetensors writes several in no fixed order, and equal inversions should be equal bytes.
_KEY = "renoise.inversion"
FORMAT_VERSION = 1


def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able record to one file.

    Raises:
        StorageError: if the file cannot be written; nothing is left behind.
    """
    target = Path(path)
    try:
        metadata = {_KEY: json.dumps({"format": FORMAT_VERSION, **record}, sort_keys=True)}
    except TypeError as error:
        raise StorageError(f"this inversion cannot be saved: {error}", remedy="let settings be plain values") from error
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    try:
        if target.is_dir():
            raise StorageError(
                f"{target} is a directory", remedy=f"name a file such as {target / 'inversion.safetensors'}"
            )
        if not target.parent.is_dir():
            raise StorageError(f"the folder {target.parent} does not exist", remedy="create it first")
        write_atomically(target, data)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot write {str(target)[:200]}: {reason(error)}", remedy="choose another file or folder"
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back the tensors and the record that `write` wrote.

    Raises:
        StorageError: if the file is missing, damaged, cut short, or not an inversion.
    """
    source = Path(path)
    try:
        if source.is_dir():
            raise StorageError(f"{source} is a directory", remedy="name an inversion file (.safetensors)")
        if not source.exists():
            raise StorageError(f"there is no file {source}", remedy="check the path")
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise StorageError(f"{source} is a safetensors file, but not an inversion made by renoise")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a handle, not a dict
        record = json.loads(metadata[_KEY])
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{str(source)[:200]} is not a readable inversion ({reason(error)})",
            remedy="it may be damaged or cut short: invert the image again",
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT_VERSION:
        found = record.get("format") if isinstance(record, dict) else None
        raise StorageError(
            f"{source} has inversion format {found!r}, this version of renoise reads {FORMAT_VERSION}",
            remedy="update renoise, or invert the image again",
        )
    return tensors, record


def check(inversion: Any) -> None:
    """Check the attributes of an `Inversion`, which may come from a file.

    Raises:
        ConfigError: for contents that no inversion has.
    """
    latents, residuals, count = inversion.latents, inversion.residuals, len(inversion.fits)
    _expect(_is_real(latents, 4) and latents.numel() > 0, "latents")
    shape = tuple(latents.shape)
    _expect(_is_real(residuals, 2) and residuals.shape[0] > 0 and residuals.shape[1] == shape[0] == count, "residuals")
    num_steps = inversion.num_steps
    _expect(inversion.noise is None or _is_real(inversion.noise, 5, (num_steps, *shape)), "noise")
    _expect(inversion.trajectory is None or _is_real(inversion.trajectory, 5, (num_steps + 1, *shape)), "trajectory")
    _expect(inversion.residual_history is None or inversion.residual_history.ndim == 3, "residual_history")
    _expect(isinstance(inversion.batched, bool) and (inversion.batched or count == 1), "batched")
    one_each(inversion.prompt, count, "prompt")
    if inversion.negative_prompt is not None:
        one_each(inversion.negative_prompt, count, "negative_prompt")
    _expect(_is_whole(inversion.network_passes), "network_passes")
    _expect(inversion.seed is None or _is_whole(inversion.seed), "seed")
    for size in (inversion.size, *(fit.original_size for fit in inversion.fits)):
        _expect(len(size) == 2 and all(_is_whole(side) and side > 0 for side in size), "size")
    _expect(all(_is_fit(fit, inversion.size) for fit in inversion.fits), "fits")
    _expect(all(t.ndim >= 2 and _is_real(t, t.ndim) for t in inversion.image_embeds or ()), "image_embeds")
    _expect(inversion.model_name is None or isinstance(inversion.model_name, str), "model")
    scheduler, fingerprint = inversion.scheduler, inversion.fingerprint
    _expect(isinstance(scheduler["class"], str) and isinstance(scheduler["config"], dict), "scheduler")
    _expect(all(isinstance(fingerprint[key], str) for key in ("layout", "adapters")), "fingerprint")
    _expect(all(isinstance(weight, float) for weight in fingerprint["weights"]), "fingerprint")


def _expect(condition: bool, name: str) -> None:
    if not condition:
        raise ConfigError(f"its {name} make no sense")


def _is_real(tensor: Any, dimensions: int, shape: tuple[int, ...] | None = None) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.ndim == dimensions
        and shape in (None, tuple(tensor.shape))
        and bool(torch.isfinite(tensor).all())
    )


def _is_fit(fit: Fit, size: tuple[int, int]) -> bool:
    """Tell whether a file's fit can be undone: its box lies in the image, and the original's size is not absurd."""
    if fit.mode not in (*FITS, "latents") or math.prod(fit.original_size) > MAX_PIXELS:
        return False
    if fit.box is None:
        return True
    top, left, height, width = fit.box
    within = top + height <= size[0] and left + width <= size[1]
    return all(_is_whole(x) for x in fit.box) and height > 0 and width > 0 and within


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
