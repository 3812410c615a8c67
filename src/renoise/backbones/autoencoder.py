"""The autoencoders of latent diffusion: images to standardised latents and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from renoise.errors import Argument, Parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# While one thread has a shared autoencoder in another precision, no other thread may use it.
_UPCASTING: WeakKeyDictionary[Any, RLock] = WeakKeyDictionary()


def encode(vae: Any, pixels: Tensor, device: torch.device) -> Tensor:
    """Encode images (B, 3, H, W) in [0, 1] as the mode of their latents, standardised, float32 (B, C, h, w).

    Raises:
        NumericalError: if the autoencoder overflows.
    """
    import torch

    with _unabridged(vae):
        encoded = vae.encode((2.0 * pixels - 1.0).to(device, vae.dtype))
        # AutoencoderTiny has no distribution to take the mode of.
        z: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        _require_finite(z, "the autoencoder's latents", vae.dtype, "its weights may be damaged: load the model again")
    mean, deviation = _statistics(vae.config, device)
    return (z.to(device, torch.float32) - mean) / deviation


def decode(vae: Any, latents: Tensor, device: torch.device) -> Tensor:
    """Decode standardised latents (B, C, h, w) to images, float32 (B, 3, H, W) in [0, 1].

    Raises:
        NumericalError: if the autoencoder overflows.
    """
    mean, deviation = _statistics(vae.config, latents.device)
    with _unabridged(vae):
        z = (latents * deviation + mean).to(device, vae.dtype)
        pixels: Tensor = vae.decode(z, return_dict=False)[0].float()
        # Before the values are clamped: infinity would come out as black or white.
        remedy = "the latents are out of its range: use more steps or a lower guidance scale"
        _require_finite(pixels, "the decoded image", vae.dtype, remedy)
    return (0.5 * pixels + 0.5).clamp(0.0, 1.0)


def _require_finite(tensor: Tensor, what: str, dtype: torch.dtype, remedy: Parts) -> None:
    """Check that a tensor is finite; `remedy` is for an autoencoder whose precision is not to blame."""
    import torch

    from renoise.checks import dtype_name, require_finite

    if dtype == torch.float16:
        remedy = (
            "load the model with ",
            Argument("dtype", "bfloat16"),
            " or ",
            Argument("dtype", "float32"),
            ", or in Python keep its autoencoder in float32: pipe.vae.to(torch.float32)",
        )
    require_finite(tensor, what, f"autoencoder in {dtype_name(dtype)}", remedy)


def _statistics(config: Any, device: torch.device) -> tuple[Tensor | float, Tensor | float]:
    """Return the mean and the deviation of the autoencoder's latents, which the network sees standardised."""
    import torch

    if getattr(config, "latents_mean", None) is None or getattr(config, "latents_std", None) is None:
        return getattr(config, "shift_factor", None) or 0.0, 1.0 / config.scaling_factor
    mean, deviation = (
        torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )
    return mean, deviation / config.scaling_factor


@contextmanager
def _unabridged(vae: Any) -> Iterator[None]:
    """Keep the autoencoder in float32 while it is used, if it overflows in float16, as SDXL's does."""
    import torch

    if not getattr(vae.config, "force_upcast", False):
        yield
        return
    with _UPCASTING.setdefault(vae, RLock()):
        if vae.dtype != torch.float16:
            yield
            return
        dtypes = {name: t.dtype for name, t in _tensors(vae)}
        # The model's own `to` would warn of modules that it keeps in their precision.
        torch.nn.Module.to(vae, dtype=torch.float32)
        try:
            yield
        finally:
            for name, tensor in _tensors(vae):
                tensor.data = tensor.data.to(dtypes[name])


def _tensors(vae: Any) -> Iterator[tuple[str, Tensor]]:
    # The names are needed because `to` keeps the parameters but replaces the buffers by other tensors.
    yield from vae.named_parameters()
    yield from vae.named_buffers()
