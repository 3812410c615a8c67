"""What is shown while the model works and afterwards: previews of latents, overlays of masks, and convergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from renoise import images
from renoise.inversion import Inversion

# A residual of 0 has no logarithm; none that floats can tell is below this one.
_LEAST_RESIDUAL = 1e-8
# The colour that lies over what could not change, and how far it covers.
_COVER, _OPACITY = (16, 16, 40), 0.72
# The longer side of a preview, in pixels: it is small, and enlarged by whoever shows it.
_PREVIEW_SIDE = 160


@dataclass(frozen=True, eq=False)
class Preview:
    """A cheap way from latents to a small image: colours as a linear function of the channels of a latent.

    It is fitted to the one image that is edited, so that no autoencoder runs beside the network and no family needs
    constants.

    Attributes:
        weights: (C + 1, 3), the last row for a constant.
        deviation: the standard deviation of the image's own latents, to which noisy ones are brought.

    Examples:
        >>> latents = torch.rand(1, 4, 8, 8)
        >>> Preview.fitted(latents, latents[:, :3]).of(latents).size
        (160, 160)
    """

    weights: Tensor
    deviation: float

    @classmethod
    def fitted(cls, latents: Tensor, pixels: Tensor) -> Preview:
        """Fit it to an image.

        Args:
            latents: z_0, (1, C, h, w).
            pixels: the image, (1, 3, H, W) in [0, 1].
        """
        z = latents[0].float().cpu()
        colours = adaptive_avg_pool2d(pixels.float().cpu(), (z.shape[-2], z.shape[-1]))[0].flatten(1).T
        # By singular values, because an image of one colour has channels that say nothing.
        weights = torch.linalg.lstsq(_rows(z), colours, driver="gelsd").solution
        return cls(weights, float(z.std()))

    def of(self, latents: Tensor) -> Image.Image:
        """Return a small image of latents (1, C, h, w) at any noise level."""
        z = latents[0].detach().float().cpu()
        scale = self.deviation / max(float(z.std()), 1e-6)
        colours = (_rows(z * scale) @ self.weights).clamp(0.0, 1.0)
        small = images.to_pictures(colours.T.reshape(1, 3, *z.shape[-2:]))[0]
        factor = _PREVIEW_SIDE / max(small.size)
        size = (max(1, round(small.width * factor)), max(1, round(small.height * factor)))
        return small.resize(size, Image.Resampling.BICUBIC)


def preview_of(inversion: Inversion) -> Preview | None:
    """Return the preview for edits of an inversion; None if it did not keep its image."""
    if inversion.trajectory is None or inversion.images is None:
        return None
    kept = Image.fromarray(inversion.images[0].permute(1, 2, 0).numpy())
    seen = images.refit(kept, inversion.fits[0], inversion.size)
    return Preview.fitted(inversion.trajectory[0], images.to_tensor([seen]))


def overlay(image: Image.Image, changed: Image.Image) -> Image.Image:
    """Darken an image where it could not change.

    Args:
        image: in mode RGB.
        changed: white where it could change, in mode L, of the same size.

    Examples:
        >>> overlay(Image.new("RGB", (2, 2), "white"), Image.new("L", (2, 2), 0)).getpixel((0, 0))
        (83, 83, 100)
    """
    kept = changed.convert("L").point([round(_OPACITY * (255 - level)) for level in range(256)])
    return Image.composite(Image.new("RGB", image.size, _COVER), image.convert("RGB"), kept)


def original_with(original: Image.Image, paint_side: int) -> Image.Image:
    """Return an image to paint a mask on: in its proportions, with the longer side at most `paint_side` pixels."""
    factor = min(1.0, paint_side / max(original.size))
    size = (max(1, round(original.width * factor)), max(1, round(original.height * factor)))
    return original if size == original.size else original.resize(size, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Point:
    """One residual of a plot.

    Attributes:
        number: the residual's place in the order in which the steps were walked, from 1 on.
        timestep: the timestep of the step.
        residual: how far the step was from its fixed point then, as its decimal logarithm.
    """

    number: int
    timestep: float
    residual: float


def convergence(inversion: Inversion, timesteps: Sequence[float]) -> list[Point]:
    """Return how the residuals of an inversion fell: of every pass where that was kept, else of every step.

    Args:
        inversion: of one image.
        timesteps: of its steps, the noisiest first.
    """
    history = inversion.residuals[:, None] if inversion.residual_history is None else inversion.residual_history
    told = [
        (timestep, max(value, _LEAST_RESIDUAL))
        for timestep, passes in reversed(list(zip(timesteps, history[:, :, 0].tolist(), strict=False)))
        for value in passes
        if not math.isnan(value)
    ]
    return [Point(i, timestep, math.log10(value)) for i, (timestep, value) in enumerate(told, start=1)]


def _rows(latent: Tensor) -> Tensor:
    """Return the channels of a latent (C, h, w) as rows with a constant, (h w, C + 1)."""
    rows = latent.flatten(1).T
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
