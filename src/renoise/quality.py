"""How true a reconstruction is: its PSNR against the image and against the autoencoder's round trip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quality:
    """How true the reconstruction of one image is, as PSNR in dB.

    Attributes:
        image: against the image that the model saw.
        round_trip: against what the autoencoder alone makes of the image; None where this is not known.
        bound: the autoencoder's round trip against the image, which `image` can hardly exceed; None likewise.
    """

    image: float
    round_trip: float | None
    bound: float | None


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio of images.

    Args:
        a: (B, 3, H, W) with values in [0, 1].
        b: of the same shape.

    Returns:
        PSNR in dB, (B,); infinite for equal images.

    Examples:
        >>> psnr(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.1))
        tensor([20.])
    """
    error = (a.float() - b.float()).square().flatten(1).mean(dim=1)
    return -10.0 * torch.log10(error)


def quality_of(reconstruction: Tensor, truth: Tensor, round_trip: Tensor) -> tuple[Quality, ...]:
    """Measure reconstructions.

    Args:
        reconstruction: (B, 3, H, W) with values in [0, 1].
        truth: the images as the model saw them, of the same shape.
        round_trip: the images encoded and decoded again; of another shape if another model made the inversion, whose
            latent grid is finer, so that nothing can be compared with it.

    Returns:
        The quality of each reconstruction.
    """
    again, truth, round_trip = (pixels.cpu() for pixels in (reconstruction, truth, round_trip))
    against_image = [float(value) for value in psnr(again, truth)]
    if round_trip.shape != again.shape:
        return tuple(Quality(value, None, None) for value in against_image)
    others = zip(psnr(again, round_trip), psnr(round_trip, truth), strict=True)
    return tuple(Quality(value, float(a), float(b)) for value, (a, b) in zip(against_image, others, strict=True))
