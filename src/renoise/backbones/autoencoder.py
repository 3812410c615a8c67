"""The autoencoders of latent diffusion: images to standardised latents and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from renoise.errors import Argument, Parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The entries of a configuration that say how latents lie, beside their scale.
STATISTICS = ("shift_factor", "latents_mean")
# The channels of an image without its opacity.
_COLOURS = 3
# While one thread has a shared autoencoder in another precision, no other thread may use it.
_UPCASTING: WeakKeyDictionary[Any, RLock] = WeakKeyDictionary()


def encode(vae: Any, pixels: Tensor, device: torch.device, used: Collection[str] = STATISTICS) -> Tensor:
    """Encode images (B, 3, H, W) in [0, 1] as the mode of their latents, standardised, float32 (B, C, h, w).

    Args:
        vae: the autoencoder.
        pixels: the images.
        device: of the latents.
        used: which of `STATISTICS` standardise them, where the configuration has them.

    Raises:
        NumericalError: if the autoencoder overflows.
    """
    import torch

    with _unabridged(vae):
        given = (2.0 * _opaque(pixels, vae) - 1.0).to(device, vae.dtype)
        z = _mode(vae.encode(given.unsqueeze(2) if _of_frames(vae) else given))
        z = z.squeeze(2) if _of_frames(vae) else z
        _require_finite(z, "the autoencoder's latents", vae.dtype, "its weights may be damaged: load the model again")
    mean, deviation, side = _statistics(vae, device, used)
    patches = torch.nn.functional.pixel_unshuffle(z.to(device, torch.float32), side)
    return torch.nn.functional.pixel_shuffle((patches - mean) / deviation, side)


def decode(vae: Any, latents: Tensor, device: torch.device, used: Collection[str] = STATISTICS) -> Tensor:
    """Decode standardised latents (B, C, h, w) to images, float32 (B, 3, H, W) in [0, 1].

    Args:
        vae: the autoencoder.
        latents: as `encode` returns them.
        device: of the autoencoder.
        used: as for `encode`.

    Raises:
        NumericalError: if the autoencoder overflows.
    """
    import torch

    mean, deviation, side = _statistics(vae, latents.device, used)
    patches = torch.nn.functional.pixel_unshuffle(latents, side) * deviation + mean
    with _unabridged(vae):
        z = torch.nn.functional.pixel_shuffle(patches, side).to(device, vae.dtype)
        pixels: Tensor = vae.decode(z.unsqueeze(2) if _of_frames(vae) else z, return_dict=False)[0].float()
        pixels = (pixels.squeeze(2) if _of_frames(vae) else pixels)[:, :_COLOURS]
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


def channels(vae: Any) -> int:
    """Return the number of channels of an autoencoder's latents."""
    config = vae.config
    return int(config.z_dim if config.get("latent_channels") is None else config.latent_channels)


def _mode(encoded: Any) -> Tensor:
    """Return the mode of what an autoencoder's encoder returned; those without a distribution return it themselves."""
    if hasattr(encoded, "latent_dist"):
        mode: Tensor = encoded.latent_dist.mode()
        return mode
    latents: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    return latents


def _opaque(pixels: Tensor, vae: Any) -> Tensor:
    """Return images with the channel of opacity that an autoencoder of four channels takes."""
    import torch

    if vae.config.get("in_channels") != _COLOURS + 1:
        return pixels
    return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)


def _of_frames(vae: Any) -> bool:
    """Tell whether an autoencoder is one of videos, of which an image is the only frame."""
    return vae.config.get("temperal_downsample") is not None


def _statistics(vae: Any, device: torch.device, used: Collection[str]) -> tuple[Tensor | float, Tensor | float, int]:
    """Return the mean and the deviation of the autoencoder's latents, which the network sees standardised.

    Returns:
        Both, and the side of the patches that have statistics of their own at each place: the channels of latents that
        are rearranged into such patches are those of the mean and the deviation.
    """
    import torch

    config, norm = vae.config, getattr(vae, "bn", None)
    if norm is not None:
        mean, variance = (t.to(device, torch.float32).view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var))
        return mean, torch.sqrt(variance + config.batch_norm_eps), int(config.patch_size[0])
    scale = config.get("scaling_factor") or 1.0
    given = "latents_mean" in used and config.get("latents_mean") is not None and config.get("latents_std") is not None
    if not given:
        shift = config.get("shift_factor") if "shift_factor" in used else None
        return shift or 0.0, 1.0 / scale, 1
    mean, deviation = (
        torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )
    return mean, deviation / scale, 1


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
