"""Checks of tensors that come from outside or from a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.errors import ConfigError, NumericalError


def require_latents(latents: Any, channels: int) -> None:
    """Raise a `ConfigError` for anything but latents (B, channels, h, w)."""
    if not isinstance(latents, Tensor) or latents.ndim != 4 or latents.shape[1] != channels or not latents.numel():
        raise ConfigError(f"latents must be a tensor (B, {channels}, h, w), not {_found(latents)}")


def require_noise(noise: Any, shape: Sequence[int]) -> None:
    """Raise a `ConfigError` for anything but noises of that shape, (num_steps, B, C, h, w)."""
    if not isinstance(noise, Tensor) or tuple(noise.shape) != tuple(shape):
        raise ConfigError(f"noise must be a tensor (num_steps, B, C, h, w) = {tuple(shape)}, not {_found(noise)}")


def require_finite(tensor: Tensor, what: str, network_dtype: torch.dtype) -> None:
    """Raise a `NumericalError` that names the place, the network's dtype and the remedy for NaN or infinity."""
    if bool(torch.isfinite(tensor).all()):
        return
    remedy = "use more steps, fewer renoising iterations or a lower guidance scale"
    if network_dtype == torch.float16:
        remedy = "load the model with dtype float32 or bfloat16"
    name = str(network_dtype).removeprefix("torch.")
    raise NumericalError(f"NaN or infinity in {what} (network in {name}); {remedy}")


def _found(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
