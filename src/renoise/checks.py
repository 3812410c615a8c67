"""Checks of tensors that come from outside or from a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.errors import ConfigError, NumericalError

# What to do about numbers that came from outside.
FINITE = "give finite values"


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


def require_finite(tensor: Tensor, what: str, maker: str = "", remedy: str = "") -> None:
    """Raise a `NumericalError` for NaN or infinity.

    Args:
        tensor: what must be finite.
        what: its name, and where it was met.
        maker: the network that made it, and its precision; empty for what came from outside.
        remedy: what to do.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise NumericalError(f"NaN or infinity in {what}{f' ({maker})' if maker else ''}; {remedy}")


def dtype_name(dtype: torch.dtype) -> str:
    """What people call a floating-point type: "float16", not "torch.float16"."""
    return str(dtype).removeprefix("torch.")


def _found(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
