"""How near an image is to another, each number as its field computes it.

L2 is the mean squared error of values in [0, 1] (what the paper's tables call L2), PSNR = -10 log10 L2. SSIM and
MS-SSIM (Wang et al., 2004 and 2003) and LPIPS (Zhang et al., 2018, arXiv 1801.03924, AlexNet) are torchmetrics'.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from renoise.evaluation.measurement import finite
from renoise.quality import psnr

__all__ = ["decibels", "l2", "lpips", "ms_ssim", "numbers", "psnr", "ssim"]

# Equal images have an infinite PSNR, of which no mean can be taken.
HIGHEST_PSNR = 150.0
# MS-SSIM halves the image four times, and what is left must be larger than its window of 11.
_SMALLEST_MS_SSIM_SIDE = 161


def numbers(drawn: Tensor, image: Tensor, round_trip: Tensor) -> dict[str, float | None]:
    """Return everything that is measured of one drawn image, by the names of a `Measurement`'s fields.

    The drawn image, the image that was inverted and its round trip are (1, 3, H, W) in [0, 1].
    """
    return {
        "l2": finite(l2(drawn, image)),
        "psnr": decibels(drawn, image),
        "ssim": finite(ssim(drawn, image)),
        "ms_ssim": finite(ms_ssim(drawn, image)),
        "lpips": finite(lpips(drawn, image)),
        "psnr_roundtrip": decibels(drawn, round_trip),
        "psnr_bound": decibels(round_trip, image),
    }


def decibels(a: Tensor, b: Tensor) -> float:
    """Return the PSNR in dB of two images (1, 3, H, W) in [0, 1], at most `HIGHEST_PSNR`."""
    return min(float(psnr(a, b)), HIGHEST_PSNR)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared error of images (B, 3, H, W) in [0, 1], shape (B,)."""
    return (a.float() - b.float()).square().flatten(1).mean(dim=1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity of images (B, 3, H, W) in [0, 1], shape (B,); it is 1 for equal images."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(a.float(), b.float(), data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return values.reshape(-1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor | None:
    """Return the multi-scale structural similarity, shape (B,); None for images too small for its five scales."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(a.shape[-2:]) < _SMALLEST_MS_SSIM_SIDE:
        return None
    values = multiscale_structural_similarity_index_measure(a.float(), b.float(), data_range=1.0, reduction="none")
    return values.reshape(-1)


def lpips(a: Tensor, b: Tensor) -> Tensor | None:
    """Return the learned perceptual distance (AlexNet) of images (B, 3, H, W) in [0, 1], shape (B,), or None.

    None means that torchvision or the network's weights are not on this machine. Nothing is downloaded for it, and
    nothing else is given under its name. To have it, install torchvision and call
    `torchvision.models.alexnet(weights="DEFAULT")` once.
    """
    network = _lpips_network()
    if network is None:
        return None
    pairs = zip(2.0 * a.float() - 1.0, 2.0 * b.float() - 1.0, strict=True)
    return torch.stack([network(x[None], y[None]) for x, y in pairs])


@cache
def _lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return LPIPS of one pair of images in [-1, 1], if torchvision and the weights that it asks for are here."""
    if find_spec("torchvision") is None:
        return None
    from torchvision.models import AlexNet_Weights

    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name).is_file():
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex").forward
