"""From whatever PIL holds (any mode, turned, transparent, in any colour space) to plain RGB, upright and in sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from renoise.errors import ImageError

# The mode in which PIL hands over pixels of a profile's colour space.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# In levels of 255. Two writings of sRGB differ by one or two; a plain gamma of 2.2 is already 9 away in the shadows.
_SAME_COLOUR = 2
# Programs write the gamma of sRGB in several ways; so much apart, relatively, it is another one.
_SAME_GAMMA = 0.05


def to_rgb(image: Image.Image, name: str, backdrop: str = "white") -> Image.Image:
    """Convert an image to mode RGB as it is meant to be seen.

    EXIF orientation is applied, grey of more than 8 bits is scaled down, colours are converted from the embedded
    profile, or from the gamma that a PNG states, to sRGB, and transparency is laid over a backdrop. EXIF data and
    profiles that cannot be used are ignored.

    Args:
        image: of any mode.
        name: what errors call it.
        backdrop: the colour that is seen through transparent parts.

    Raises:
        ImageError: for grey values beyond every known scale. Decoders raise other errors.
    """
    profile, gamma = image.info.get("icc_profile"), _gamma(image)
    opaque, alpha = _without_alpha(_upright(image), name)
    opaque = _in_srgb(opaque, profile)
    if gamma is not None:
        opaque = opaque.point(_lookup(gamma) * 3)
    if alpha is None:
        return opaque
    return Image.composite(opaque, Image.new("RGB", opaque.size, backdrop), alpha)


def _upright(image: Image.Image) -> Image.Image:
    """Copy an image, turned as EXIF says."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is written by many hands, and PIL reads it in many ways: no reason to lose the image
        return image.copy()


def _without_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Split an image into one without transparency, in mode L, RGB, CMYK or another, and its opacity in mode L."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        alpha = Image.fromarray(np.uint8(255) * (values != clear).astype(np.uint8)) if isinstance(clear, int) else None
        return _eight_bits(values, image.mode, name), alpha
    if isinstance(clear, tuple) and max(clear) > 255:
        # Of an image that PIL decoded before it came here the upper 8 bits are left, and they may not tell.
        upper = tuple(value >> 8 for value in clear)
        if (np.asarray(image) == upper).all(axis=-1).any():
            raise ImageError(
                f"{name} was decoded to 8 bits, in which its transparent colour of 16 bits cannot be told from others",
                remedy="give the path of its file",
            )
        return image, None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return image.convert("L") if image.mode == "1" else image, None


def _eight_bits(values: np.ndarray[Any, Any], mode: str, name: str) -> Image.Image:
    """Scale grey of more than 8 bits down to mode L; PIL's own conversion clips it at 255."""
    low, high = float(values.min()), float(values.max())
    tops = (65535.0,) if mode.startswith("I;16") else (255.0, 65535.0) if mode == "I" else (1.0, 255.0)
    top = next((t for t in tops if high <= t), None)
    if low < 0.0 or top is None:
        raise ImageError(
            f"{name} holds grey values in [{low:.6g}, {high:.6g}], expected [0, {tops[-1]:g}]",
            remedy="convert it to 8 or 16 bits",
        )
    return Image.fromarray(np.rint(values.astype(np.float32) * np.float32(255.0 / top)).astype(np.uint8))


def _in_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an image to mode RGB and sRGB, from the colour space of its profile as far as that can be used."""
    if not icc:
        return image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _MODES.get(profile.profile.xcolor_space.strip())
        if mode is None or (image.mode == "CMYK") != (mode == "CMYK") or (mode == "L" and image.mode != "L"):
            return image.convert("RGB")  # a profile of another image
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode != "CMYK" and _changes_nothing(transform, mode):
            return image.convert("RGB")
        converted = ImageCms.applyTransform(image.convert(mode), transform)
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
        # A damaged or exotic profile, or a PIL that was built without colour management.
        return image.convert("RGB")
    return image.convert("RGB") if converted is None else converted


def _gamma(image: Image.Image) -> float | None:
    """Return the exponent with which a PNG says that it was stored; None if it is near enough to that of sRGB."""
    info = image.info
    gamma = info.get("gamma")
    if image.format != "PNG" or "icc_profile" in info or "srgb" in info or not isinstance(gamma, float):
        return None
    return gamma if 0.05 < gamma < 5.0 and abs(gamma * 2.2 - 1.0) > _SAME_GAMMA else None


def _lookup(gamma: float) -> list[int]:
    """Return, for each level that was stored as light to the power `gamma`, the level of sRGB."""
    light = (np.arange(256) / 255.0) ** (1.0 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1.0 / 2.4) - 0.055)
    return [int(level) for level in np.rint(curve * 255.0)]


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a profile is sRGB by what it does: names and versions of sRGB are many, and some lie.

    Images in sRGB are not touched, so that rounding cannot alter them.
    """
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    if mode == "L":
        probe = Image.fromarray(levels[None])
    else:
        probe = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3))
    before = np.asarray(probe.convert("RGB"), dtype=np.int16)
    after = np.asarray(ImageCms.applyTransform(probe, transform), dtype=np.int16)
    return int(np.abs(after - before).max()) <= _SAME_COLOUR
