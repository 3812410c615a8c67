"""Masks that say where an edit may change an image: read, and fitted as the image was.

White may change, and black stays. Grey lies between the two: there an edit goes a part of the way.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, max_pool2d

from renoise import images
from renoise.errors import ConfigError, ImageError, RenoiseWarning
from renoise.images import Fit

# Without overshooting at edges, so that black stays black and white stays white. A pixel of a smaller hard mask is
# white if any pixel is that it stands for, so that nothing painted is lost.
_SOFT, _HARD = Image.Resampling.BILINEAR, Image.Resampling.BOX
# How far from its proportions a mask's side may be: a pixel of rounding, and no more than this share of a small mask.
_PIXEL, _SHARE = 1.0, 0.05
# How far a hard mask's edge is feathered inwards, as a share of the shorter side. Every pixel of it is one that the
# edit gives up: twice this cost 0.3 dB where all had to change up to the edge.
_FEATHER = 1 / 256
# From this level on, what an edit drew covers the image whole. Where a mask is grey the latents went a part of the way
# already, and two images laid over each other would be neither.
_SOLID = 0.25


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of one image, with values in [0, 1].

    Attributes:
        seen: in the frame of the model, float32 (1, H, W).
        shown: in the frame in which edits of the image come back, float32 (1, H, W).
    """

    seen: Tensor
    shown: Tensor


def read(mask: Any, fits: Sequence[Fit], size: tuple[int, int]) -> tuple[Mask, ...]:
    """Read the masks of images, and fit each as its image was fitted.

    Args:
        mask: what `images.load` takes, or an array or tensor of bool: one for all images, or a list with one for each.
            Colours count by their luminance, and transparency as black. Of any size, with the proportions of the image
            before it was fitted, or of the model's image.
        fits: how each image was fitted.
        size: (height, width) of the model's image.

    Returns:
        One for each image. A mask of nothing but black and white has no other values after it was resampled.

    Raises:
        ImageError: if one cannot be read.
        ConfigError: if one has another shape, or there is another number of them.

    Warns:
        RenoiseWarning: for a mask that is black everywhere.

    Examples:
        >>> one, = read(np.array([[True, False]]), [Fit("crop", (4, 8))], (2, 4))
        >>> one.seen.tolist()
        [[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]]
    """
    greys = load(mask)
    if len(greys) not in (1, len(fits)):
        raise ConfigError(
            f"there are {len(greys)} masks for {len(fits)} images",
            argument="mask",
            remedy="give one for all images, or a list with one for each",
        )
    each = greys if len(greys) == len(fits) else greys * len(fits)
    fitted = tuple(_fitted(grey, fit, size) for grey, fit in zip(each, fits, strict=True))
    if not all(bool(mask.seen.any()) for mask in fitted):
        warnings.warn(
            RenoiseWarning("the mask is black everywhere, so that the image stays as it is", argument="mask"),
            stacklevel=4,  # the caller of Editor.edit, which torch wraps
        )
    return fitted


def load(mask: Any) -> list[Image.Image]:
    """Read one mask or several in their own sizes, as images in mode L; see `read`.

    Raises:
        ImageError: if one cannot be read.
        ConfigError: if white was written as 1 of 255.
    """
    try:
        loaded, _ = images.load_all(_bytes(mask), "black")
    except ImageError as error:
        raise ImageError("the mask cannot be used: ", *error.problem, argument="mask", remedy=error.remedy) from error
    greys = [image.convert("L") for image in loaded]
    for grey in greys:
        if grey.getextrema()[1] == 1:
            raise ConfigError(
                "the mask has no level above 1 of 255, which is black",
                argument="mask",
                remedy="write white as 255, or give an array of bool",
            )
    return greys


def at_latents(masks: Sequence[Mask], size: Sequence[int]) -> Tensor:
    """Return masks at the size (height, width) of latents, float32 (B, 1, h, w).

    A latent may change as far as any pixel may that it or a latent beside it stands for. The pixels outside of the
    mask are the image's own in the end, and an edit that has room at its edges is better (docs/editing.md).

    Examples:
        >>> spot = torch.zeros(1, 32, 64)
        >>> spot[0, 9, 9] = 0.5
        >>> at_latents([Mask(spot, spot)], (4, 8))[0, 0, 0].tolist()
        [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    cells = torch.stack([adaptive_max_pool2d(mask.seen, tuple(size)) for mask in masks])
    return max_pool2d(cells, 3, stride=1, padding=1)


def opacity(mask: Tensor) -> Tensor:
    """Return how far an edit's pixels cover the image's own, in [0, 1], of the mask's shape (1, H, W).

    Nothing is covered where a mask is black. With grey levels, the cover is whole from a quarter of white on. The edge
    of a hard mask is feathered inwards, and a part of it that is too narrow for the feather is covered in its middle.

    Examples:
        >>> opacity(torch.tensor([[[0.0, 1.0, 0.125, 0.5]]])).tolist()
        [[[0.0, 1.0, 0.5, 1.0]]]
    """
    if bool(((mask > 0.0) & (mask < 1.0)).any()):
        return (mask / _SOLID).clamp(max=1.0)
    width = round(_FEATHER * min(mask.shape[-2:]))
    depth = inner = mask
    for _ in range(width):
        inner = -max_pool2d(-inner, 3, stride=1, padding=1)
        depth = depth + inner
    span = 2 * width + 1
    deepest = max_pool2d(max_pool2d(depth, (span, 1), 1, (width, 0)), (1, span), 1, (0, width))
    return depth / deepest.clamp(min=1.0)


def composite(drawn: Image.Image, own: Tensor, mask: Tensor) -> Image.Image:
    """Lay an edit over its image, where a mask lets it.

    Args:
        drawn: the edit.
        own: the image, uint8 (3, H, W).
        mask: in [0, 1], (1, H, W); where it is 0 the image's own levels stay, every one of them.
    """
    laid = torch.lerp(own.float(), images.to_bytes(drawn).float(), opacity(mask))
    return Image.fromarray(laid.round().to(torch.uint8).permute(1, 2, 0).numpy())


def _bytes(mask: Any) -> Any:
    """Return arrays and tensors of truth values as black and white."""
    if isinstance(mask, (list, tuple)):
        return [_bytes(one) for one in mask]
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        return mask.to(torch.uint8) * 255
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        return mask.astype(np.uint8) * np.uint8(255)
    return mask


def _fitted(grey: Image.Image, fit: Fit, size: tuple[int, int]) -> Mask:
    own = (grey.height, grey.width)
    of_image, of_model = _has_shape(own, fit.original_size), _has_shape(own, size)
    if not (of_image or of_model):
        of = fit.original_size
        raise ConfigError(
            f"the mask is {grey.width} x {grey.height} and the image {of[1]} x {of[0]}, which is another shape",
            argument="mask",
            remedy="paint the mask on the image itself; any size with its proportions will do",
        )
    hard = sum(grey.histogram()[1:-1]) == 0
    method = _HARD if hard else _SOFT
    if of_model and (not of_image or (own == size and own != fit.original_size)):
        seen = images.resampled(grey, size, method)
        shown = images.unfit(seen, fit, method)
    else:
        seen = images.refit(grey, fit, size, method)
        comes_back = fit.mode in ("pad", "keep")
        shown = images.resampled(grey, fit.original_size, method) if comes_back else seen
    return Mask(_values(seen, hard=hard), _values(shown, hard=hard))


def _has_shape(own: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether a size has the proportions of another, as far as whole pixels can."""
    slack = [min(_PIXEL, _SHARE * side) for side in own]
    least = max((side - s) / of for side, s, of in zip(own, slack, other, strict=True))
    return least <= min((side + s) / of for side, s, of in zip(own, slack, other, strict=True))


def _values(grey: Image.Image, *, hard: bool) -> Tensor:
    levels = torch.from_numpy(np.array(grey, dtype=np.float32))[None] / 255.0
    return (levels > 0.0).float() if hard else levels
