"""Checks of tensors that come from outside or from a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.errors import Argument, ConfigError, NumericalError, Parts

# What to do about numbers that came from outside.
FINITE = "give finite values"


def require_numbers(tensor: Any, name: str) -> None:
    """Check that a tensor holds real numbers, one after the other, in memory.

    Raises:
        ConfigError: if it is complex, sparse, or has only a shape (the device "meta"); `name` is the argument.
    """
    if tensor.is_complex() or tensor.is_meta or tensor.layout is not torch.strided:
        kind = "complex" if tensor.is_complex() else "without numbers (meta)" if tensor.is_meta else "sparse"
        raise ConfigError(Argument(name), f" must be a dense tensor of real numbers, not one that is {kind}")


def require_latents(latents: Any, channels: int, multiple: int = 1) -> None:
    """Check that latents are a tensor (B, channels, h, w), with h and w multiples of `multiple`.

    Raises:
        ConfigError: if they are not.
    """
    if not isinstance(latents, Tensor) or latents.ndim != 4 or latents.shape[1] != channels or not latents.numel():
        raise ConfigError(Argument("latents"), f" must be a tensor (B, {channels}, h, w), not {_found(latents)}")
    require_numbers(latents, "latents")
    if any(side % multiple for side in latents.shape[-2:]):
        raise ConfigError(
            f"the sides of this model's latents are multiples of {multiple}, not {_found(latents)}", argument="latents"
        )


def require_noise(noise: Any, shape: Sequence[int]) -> None:
    """Check that noises have a shape, (num_steps, B, C, h, w).

    Raises:
        ConfigError: if they have not.
    """
    if not isinstance(noise, Tensor) or tuple(noise.shape) != tuple(shape):
        raise ConfigError(
            Argument("noise"), f" must be a tensor (num_steps, B, C, h, w) = {tuple(shape)}, not {_found(noise)}"
        )
    require_numbers(noise, "noise")


def require_pixels(pixels: Any, count: int, size: tuple[int, int]) -> None:
    """Check that `pixels` are images (count, 3, H, W) of `size` (height, width).

    Raises:
        ConfigError: if they are not.
    """
    shape = (count, 3, *size)
    if not isinstance(pixels, Tensor) or tuple(pixels.shape) != shape:
        raise ConfigError(f"images must be a tensor (B, 3, H, W) = {shape}, not {_found(pixels)}")
    require_numbers(pixels, "reconstruction")


def is_finite(tensor: Tensor) -> bool:
    """Tell whether a tensor holds neither NaN nor infinity.

    Examples:
        >>> is_finite(torch.tensor([1.0, 2.0])), is_finite(torch.tensor([1.0, float("nan")]))
        (True, False)
    """
    # Only finite numbers have a finite sum, and it costs a fraction of looking at each; a sum can overflow by itself.
    return bool(tensor.sum().isfinite()) or bool(torch.isfinite(tensor).all())


def require_finite(tensor: Tensor, what: str, maker: str = "", remedy: Parts = ()) -> None:
    """Check that a tensor holds neither NaN nor infinity.

    Args:
        tensor: what must be finite.
        what: its name, and where it was met.
        maker: the network that made it, and its precision; empty for what came from outside.
        remedy: what to do.

    Raises:
        NumericalError: if it does.
    """
    if not is_finite(tensor):
        raise not_finite(what, maker, remedy)


def not_finite(what: str, maker: str = "", remedy: Parts = ()) -> NumericalError:
    """Return the error of `require_finite`, for callers whose words cost time to find."""
    return NumericalError(f"NaN or infinity in {what}{f' ({maker})' if maker else ''}", remedy=remedy)


def dtype_name(dtype: torch.dtype) -> str:
    """Return what people call a floating-point type: "float16", not "torch.float16"."""
    return str(dtype).removeprefix("torch.")


def _found(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def require_made(argument: str, method: str, made: Any, like: Tensor) -> None:
    """Check that what a user's part of the method returned are latents to go on with.

    Args:
        argument: by which the part came, such as "solver".
        method: which returned them.
        made: what it returned.
        like: latents of the shape and type that are needed.

    Raises:
        ConfigError: if they are none.
    """
    if not isinstance(made, Tensor) or made.shape != like.shape or made.dtype != like.dtype:
        found = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise ConfigError(
            Argument(argument), f" must return latents {like.dtype} {tuple(like.shape)} from {method}, not {found}"
        )
