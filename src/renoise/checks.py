"""Checks of tensors that come from outside or from a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.errors import ConfigError, NumericalError


def require_latents(latents: Any, channels: int, multiple: int = 1) -> None:
    """Raise a `ConfigError` for anything but latents (B, channels, h, w), h and w multiples of `multiple`."""
    if not isinstance(latents, Tensor) or latents.ndim != 4 or latents.shape[1] != channels or not latents.numel():
        raise ConfigError(f"latents must be a tensor (B, {channels}, h, w), not {_found(latents)}")
    if any(side % multiple for side in latents.shape[-2:]):
        raise ConfigError(f"the sides of this model's latents are multiples of {multiple}, not {_found(latents)}")


def require_noise(noise: Any, shape: Sequence[int]) -> None:
    """Raise a `ConfigError` for anything but noises of that shape, (num_steps, B, C, h, w)."""
    if not isinstance(noise, Tensor) or tuple(noise.shape) != tuple(shape):
        raise ConfigError(f"noise must be a tensor (num_steps, B, C, h, w) = {tuple(shape)}, not {_found(noise)}")


def require_finite(
    tensor: Tensor, what: str, dtype: torch.dtype, *, network: str = "network", remedy: str | None = None
) -> None:
    """Raise a `NumericalError` that names the place, the precision and the remedy for NaN or infinity.

    Args:
        tensor: what must be finite.
        what: its name and where it was met.
        dtype: of the network that made it.
        network: which one that is.
        remedy: what to do; None tells it from the precision.
    """
    if bool(torch.isfinite(tensor).all()):
        return
    if remedy is None:
        remedy = "use more steps, fewer renoising iterations or a lower guidance scale"
        if dtype == torch.float16:
            remedy = "load the model with dtype float32 or bfloat16"
    name = str(dtype).removeprefix("torch.")
    raise NumericalError(f"NaN or infinity in {what} ({network} in {name}); {remedy}")


def _found(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
