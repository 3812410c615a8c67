"""Images in and out: read, check, fit to the model, write.

Inside renoise an image is a float32 tensor (B, 3, H, W) with values in [0, 1]. Anything that a user may hold as
an image is turned into that here, with one error class for whatever cannot be.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from renoise.colour import to_rgb
from renoise.errors import ConfigError, ImageError, reason
from renoise.escaping import seen
from renoise.files import as_path, require_replaceable, write_atomically
from renoise.image_files import MAX_PIXELS, decoded, decoding, open_image, require_area
from renoise.quality import psnr as psnr  # under the name that scripts for earlier versions know it by

if TYPE_CHECKING:
    import numpy.typing as npt

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


# In a batch that is one array. Together they take several gigabytes.
_MAX_BATCH_PIXELS = 10 * MAX_PIXELS
# What to do about a tensor that holds its values in another way.
_PLAIN = {
    "sparse": "give tensor.to_dense()",
    "nested": "give a list of tensors",
    "quantized": "give tensor.dequantize()",
    "meta": "load its values first",
}

# Pixels are resampled so unless another way is asked for.
LANCZOS = Image.Resampling.LANCZOS
# What transparent images can be laid over.
BACKDROPS = ("white", "black")
# How an image of any size can be brought to a model: see `fit_to`.
FITS = ("crop", "pad", "stretch", "keep")


@dataclass(frozen=True)
class Fit:
    """How an image was brought to the size that the model saw, so that it can be undone and done again.

    Attributes:
        mode: one of `FITS`, or "latents" (no image, latents came).
        original_size: (height, width) of the image before.
        box: (top, left, height, width) of the part of the model's image that shows the original, for "pad" and
            "keep"; None is the whole of it.
    """

    mode: str
    original_size: tuple[int, int]
    box: tuple[int, int, int, int] | None = None


def load(image: Any, backdrop: str = "white", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read one image of any kind as a PIL image in mode RGB.

    Args:
        image: a path; a PIL image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a tensor (3, H, W) or
            (1, H, W). uint8 in [0, 255] or floating point in [0, 1]. EXIF orientation is applied, colours are converted
            from an embedded profile to sRGB, transparency is laid over the backdrop. Of a file with several frames the
            first is taken, and a warning says so.
        backdrop: one of `BACKDROPS`, the colour that is seen through transparent parts.
        max_pixels: the most pixels that the image of a file may have, `MAX_PIXELS` or fewer; a larger one is refused
            before it is decoded.

    Raises:
        ImageError: if it cannot be read or understood.
        ConfigError: if the backdrop is unknown.
    """
    if not isinstance(backdrop, str) or backdrop not in BACKDROPS:
        raise ConfigError(
            f"the backdrop {seen(backdrop)} is unknown", argument="backdrop", remedy=f"use {' or '.join(BACKDROPS)}"
        )
    if isinstance(image, (str, os.PathLike)):
        path = as_path(image, ImageError)
        return _in_rgb(open_image(path, max_pixels), str(path), backdrop)
    if isinstance(image, Image.Image):
        with decoding("the image"):
            opened = decoded(image, "the image")
        return _in_rgb(opened, "the image", backdrop)
    if isinstance(image, Tensor):
        return _from_array(_channels_last(image), backdrop)
    if isinstance(image, np.ndarray):
        return _from_array(image, backdrop)
    raise ImageError(f"an image must be a path, a PIL image, an array or a tensor, not {type(image).__name__}")


def load_all(images: Any, backdrop: str = "white") -> tuple[list[Image.Image], bool]:
    """Read one image or many, and tell whether they were many.

    Many are a list, or an array or tensor with a leading batch dimension; each is taken as `load` takes it.

    Raises:
        ImageError: if there is none, or one cannot be read or understood.
    """
    if isinstance(images, (list, tuple)):
        if not images:
            raise ImageError("the list of images is empty", remedy="give at least one")
        return [load(p, backdrop) for p in images], True
    if isinstance(images, Tensor):
        _require_plain(images)
    if isinstance(images, (Tensor, np.ndarray)) and images.ndim == 4:
        if len(images) == 0:
            raise ImageError("the batch of images is empty", remedy="give at least one")
        _require_small(tuple(images.shape), _MAX_BATCH_PIXELS)
        return [load(p, backdrop) for p in images], True
    return [load(images, backdrop)], False


def crop_to(image: Image.Image, size: tuple[int, int], method: Image.Resampling = LANCZOS) -> Image.Image:
    """Cut out the largest centred part with the aspect ratio of `size` (height, width), resampled to that size."""
    height, width = size
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=method)


def require_fit(mode: str) -> None:
    """Raise a `ConfigError` for anything but one of `FITS`."""
    if not isinstance(mode, str) or mode not in FITS:
        raise ConfigError(f"the fit {seen(mode)} is unknown", argument="fit", remedy=f"use one of {', '.join(FITS)}")


def fit_to(image: Image.Image, size: tuple[int, int], mode: str = "crop", multiple: int = 8) -> tuple[Image.Image, Fit]:
    """Bring an image of any size and shape to one that a model can take, and tell how that was done.

    Args:
        image: in mode RGB, as `load` returns it.
        size: (height, width) of the model's images.
        mode: "crop" takes the largest centred part with the aspect ratio of `size`; "stretch" takes the whole of it,
            whatever becomes of its shape; "pad" takes the whole of it in its own shape and fills the rest of `size`;
            "keep" leaves every pixel as it is, ignores `size` and fills up, at the right and below, to whole multiples
            of `multiple`, because the latent grid is coarser than the pixels.
        multiple: the sides of a kept image are multiples of this: the pixels that one latent stands for, or more
            where the network halves its latents evenly.

    The filling continues the edge pixels outwards, which draws nothing new. A plain colour makes a hard border, which
    the autoencoder smears into the image and the network takes for a frame; a mirrored image shows a second cat, which
    wants its share of every edit. Measurements agree: with sixteen images of 2:1 in the bundled model's squares,
    reconstructions of what is inside are at 26.3 dB with edges, 25.7 mirrored, and 24.4 with the image's mean colour or
    less with any other (20 DDIM steps, one renoising iteration).

    Raises:
        ConfigError: if the mode is unknown.

    Examples:
        >>> fitted, fit = fit_to(Image.new("RGB", (300, 100)), (512, 512), "pad")
        >>> fitted.size, fit.box
        ((512, 512), (170, 0, 171, 512))
    """
    require_fit(mode)
    original = (image.height, image.width)
    if mode == "keep":
        size = (_rounded_up(image.height, multiple), _rounded_up(image.width, multiple))
        fit = Fit(mode, original, (0, 0, *original))
    elif mode == "pad":
        fit = Fit(mode, original, _centred(original, size))
    else:
        fit = Fit(mode, original)
    return refit(image, fit, size), fit


def refit(image: Image.Image, fit: Fit, size: tuple[int, int], method: Image.Resampling = LANCZOS) -> Image.Image:
    """Bring an image to a model's size (height, width) in the way in which another version of it was brought there.

    Args:
        image: in mode RGB or L.
        fit: how that version was fitted.
        size: the model's.
        method: how pixels are resampled.

    Raises:
        ConfigError: if the mode of `fit` is unknown.
    """
    height, width = size
    if fit.mode in ("crop", "latents"):
        return crop_to(image, size, method)
    if fit.mode == "stretch":
        return resampled(image, size, method)
    require_fit(fit.mode)
    top, left, inner_height, inner_width = fit.box or (0, 0, height, width)
    inner = np.asarray(resampled(image, (inner_height, inner_width), method))
    around = ((top, height - top - inner_height), (left, width - left - inner_width), (0, 0))
    return Image.fromarray(np.pad(inner, around[: inner.ndim], mode="edge"))


def unfit(image: Image.Image, fit: Fit, method: Image.Resampling = LANCZOS) -> Image.Image:
    """Undo `fit`: bring what a model drew to the shape in which a user wants it back.

    For "pad" and "keep" the filling is cut off, and the rest gets the original's size, resampled if need be. The other
    modes have no way back, and the model's image is returned as it is.
    """
    if fit.mode not in ("pad", "keep"):
        return image
    top, left, height, width = fit.box or (0, 0, image.height, image.width)
    return resampled(image.crop((left, top, left + width, top + height)), fit.original_size, method)


def resampled(image: Image.Image, size: tuple[int, int], method: Image.Resampling = LANCZOS) -> Image.Image:
    """Bring an image to a size (height, width), whatever becomes of its shape."""
    height, width = size
    return image if image.size == (width, height) else image.resize((width, height), method)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB images of one size as a tensor, float32 (B, 3, H, W) in [0, 1]."""
    arrays = np.stack([np.asarray(p.convert("RGB"), dtype=np.float32) for p in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous() / 255.0


def to_bytes(image: Image.Image) -> Tensor:
    """Return an RGB image as bytes, uint8 (3, H, W) in [0, 255]."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """Return a tensor (B, 3, H, W) in [0, 1] as PIL images, rounded to 8 bits."""
    array = (pixels.detach().float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return [Image.fromarray(a) for a in array.permute(0, 2, 3, 1).cpu().numpy()]


def given_out(pixels: Tensor, output_type: str) -> Any:
    """Return a tensor (B, C, H, W) in [0, 1] as "pil", "np" (B, H, W, C) or "pt", the tensor itself."""
    if output_type == "pt":
        return pixels
    return pixels.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else to_pictures(pixels)


def check_writable(path: Path, *, suffixes: Sequence[str] = tuple(FORMATS)) -> None:
    """Check that an image can be written to `path`, before any work is done for it.

    Raises:
        ImageError: if it cannot.
    """
    if path.suffix.lower() not in suffixes:
        raise ImageError(f"cannot tell the format of {path}", remedy=f"use one of the extensions {', '.join(suffixes)}")
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a directory", remedy="name a file in it")
        if not path.parent.is_dir():
            if path.parent.exists():
                raise ImageError(f"the folder {path.parent} is a file", remedy="name another")
            raise ImageError(f"the folder {path.parent} does not exist", remedy="create it first")
        require_replaceable(path)
        # A link stays one, and what it points to is written.
        folder = Path(os.path.realpath(path)).parent
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be written ({reason(error)})", remedy="name another file") from error
    try:
        # Tried out, because permissions do not tell of everything: a full disk, a mount, a folder of the kernel's.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ImageError(
            f"the folder {folder} cannot be written to ({reason(error)})", remedy="choose another"
        ) from error


def save(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image whole or not at all.

    Raises:
        ImageError: if the extension is unknown or the file cannot be written.
    """
    if not isinstance(image, Image.Image):
        raise ImageError(f"only a PIL image can be written, not {seen(image)}", remedy="make one with PIL.Image")
    target = as_path(path, ImageError)
    check_writable(target)
    format_name = FORMATS[target.suffix.lower()]
    options: dict[str, Any] = {"quality": 95} if format_name in ("JPEG", "WEBP") else {}
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, **options)
        write_atomically(target, buffer.getvalue())
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write {target}: {reason(error)}", remedy="try another format or folder") from error


def _centred(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box (top, left, height, width) of the largest image of its shape in the middle of `size`."""
    scale = min(size[0] / original[0], size[1] / original[1])
    height, width = (max(1, min(whole, round(side * scale))) for whole, side in zip(size, original, strict=True))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def _rounded_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _in_rgb(image: Image.Image, name: str, backdrop: str) -> Image.Image:
    with decoding(name):
        require_area(image, name)
        return to_rgb(image, name, backdrop)


def _require_small(shape: tuple[int, ...], most: int) -> None:
    """Check the number of pixels before anything is copied: a view of one number may have any size."""
    pixels = math.prod(shape) // max(1, min(shape[1:]))  # the channels are first or last, and are the fewest
    if pixels > most:
        raise ImageError(
            f"an image array of the shape {shape} is too large: at most {most:,} pixels", remedy="scale it down first"
        )


def _channels_last(tensor: Tensor) -> npt.NDArray[Any]:
    _require_plain(tensor)
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(f"an image tensor must be (3, H, W) or (B, 3, H, W), not {tuple(tensor.shape)}")
    _require_area(*tensor.shape[1:])
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.is_floating_point():
            tensor = tensor.float()
        return tensor.permute(1, 2, 0).numpy()
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor of a class that has no plain values
        raise ImageError(
            f"a {type(tensor).__name__} of {tensor.dtype} cannot be read as an image: {reason(error)}",
            remedy="give an ordinary tensor",
        ) from error


def _require_plain(tensor: Tensor) -> None:
    """Raise an `ImageError` for a tensor that does not hold its values one by one."""
    kinds = {
        "sparse": tensor.layout is not torch.strided and not tensor.is_nested,
        "nested": tensor.is_nested,
        "quantized": tensor.is_quantized,
        "meta": tensor.is_meta,
    }
    for kind, found in kinds.items():
        if found:
            raise ImageError(f"an image must be an ordinary tensor with values, not a {kind} one", remedy=_PLAIN[kind])


def _require_area(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"the image is too large: {width} x {height} pixels, at most {MAX_PIXELS:,}", remedy="scale it down first"
        )


def _from_array(array: npt.NDArray[Any], backdrop: str) -> Image.Image:
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise ImageError("the image array has masked values", remedy="fill them first, for example array.filled(0)")
        array = array.data
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ImageError(f"an image array must be (H, W, 3), or (B, H, W, 3) for a batch, not {array.shape}")
    _require_area(*array.shape[:2])
    if array.dtype == np.uint8:
        pixels = array
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ImageError("the image holds NaN or infinity", remedy="give finite values in [0, 1]")
        if low < -1e-3 or high > 1.0 + 1e-3:
            raise ImageError(
                f"floating-point images must lie in [0, 1], not [{low:.3g}, {high:.3g}]", remedy="rescale the values"
            )
        pixels = np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)
    else:
        raise ImageError(f"an image must be uint8 in [0, 255] or floating point in [0, 1], not {array.dtype}")
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return _in_rgb(Image.fromarray(pixels), "the image", backdrop)
