"""Layouts of pixels that PIL decodes wrongly without a word: they are mended where that is simple, or else refused.

The rules follow from a comparison of PIL with tifffile, and with arrays that were laid out by hand, over every
combination of photometry, depth, sign, planes, extra samples, byte order, fill order, compression and tiles
(`tests/test_image_layouts.py`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImagePalette

from renoise.errors import ImageError

# Tags of TIFF, and the values of its photometric interpretation.
_BITS, _COMPRESSION, _PHOTOMETRIC, _COLOR_MAP = 258, 259, 262, 320
_SAMPLES, _PLANAR, _EXTRA, _SAMPLE_FORMAT, _INK_SET, _INDEXED = 277, 284, 338, 339, 332, 346
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SIGNED, _FLOATING = 2, 3
_UNCOMPRESSED, _FAX, _JPEG = 1, (2, 3, 4), (6, 7)
# Code points of ITU-T H.273: the primaries of BT.709, and transfers that are shown as sRGB is; 2 is "not said".
_PLAIN_PRIMARIES, _PLAIN_TRANSFERS = (1, 2), (1, 2, 6, 13, 14, 15)
_VIDEO = "in the colour space of wide or HDR video"
# PIL inverts the first, and of the plates of the second it takes one for grey.
_PSD_MISREAD = {0: "of one bit", 7: "of several plates"}

_SAVE = "save it as PNG with 8 bits in sRGB first"


# Puts right what PIL left out, once an image is decoded. What PIL keeps beside the pixels is kept.
Mend = Callable[[Image.Image], Image.Image]


def require_layout(image: Image.Image, name: str) -> Mend:
    """Check that an image that was opened, but not decoded yet, has a layout that PIL decodes right.

    Args:
        image: as `PIL.Image.open` returns it.
        name: what errors call it.

    Returns:
        A function that takes the image once it is decoded, and returns it with what PIL left out: grey that is inverted
        or of 12 bits, and which channel is no opacity.

    Raises:
        ImageError: if it has another layout.
    """
    look = _FORMATS.get(image.format or "")
    found = _as_it_is if look is None else look(image)
    if isinstance(found, str):
        raise ImageError(f"{name} is {found}, which is not decoded right here", remedy=_SAVE)
    return found


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


def _without_alpha(image: Image.Image) -> Image.Image:
    return _with_info(image.convert(image.mode[:-1]), image) if image.mode in ("RGBA", "LA") else image


def _with_info(made: Image.Image, image: Image.Image) -> Image.Image:
    made.info.update(image.info)
    made.format = image.format
    return made


def _tiff(image: Any) -> Mend | str:
    tags = image.tag_v2
    bits, formats = max(tags.get(_BITS, (1,))), set(tags.get(_SAMPLE_FORMAT, (1,)))
    photometric, samples = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO), tags.get(_SAMPLES, 1)
    compression, extra = tags.get(_COMPRESSION, _UNCOMPRESSED), tags.get(_EXTRA, ())
    if _SIGNED in formats:
        return "a TIFF of signed numbers"
    if bits == 32 and _FLOATING not in formats:
        return "a TIFF of whole numbers of 32 bits"
    if _FLOATING in formats and photometric == _WHITE_IS_ZERO:
        return "a TIFF of inverted floating-point numbers"
    if _FLOATING in formats and compression != _UNCOMPRESSED and tags.prefix == b"MM":
        return "a TIFF of compressed floating-point numbers in big-endian order"
    if tags.get(_PLANAR, 1) == 2 and samples > 1:
        if photometric not in (_RGB, _CMYK):
            return "a TIFF with separate planes that are neither RGB nor CMYK"
        if bits > 8 and compression == _UNCOMPRESSED:
            return "a TIFF with separate planes of more than 8 bits"
    if photometric == _YCBCR and compression not in _JPEG:
        return "a TIFF with YCbCr that is not compressed as JPEG"
    if photometric == _RGB and samples > 3 + len(extra):
        return "a TIFF with a fourth channel that it does not name"
    if photometric == _CMYK and tags.get(_INK_SET, 1) != 1:
        return "a TIFF with inks other than CMYK"
    if tags.get(_INDEXED, 0) and photometric != _PALETTE:
        return "a TIFF with a palette that is not RGB"
    if compression in _FAX and (bits, samples) != (1, 1):
        return "a TIFF with fax compression of more than one bit"
    if photometric == _PALETTE and max(tags.get(_COLOR_MAP, (0,))) < 256:
        # Some writers leave out the scaling of the palette to 16 bits, of which PIL then takes the upper byte, 0.
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLOR_MAP]))
    inverted = photometric == _WHITE_IS_ZERO
    return partial(_deep_grey, bits=bits, inverted=inverted) if bits in (12, 16) and samples == 1 else _as_it_is


def _deep_grey(image: Image.Image, bits: int, inverted: bool) -> Image.Image:
    """Scale grey to 16 bits, as numbers in which 0 is black."""
    if not image.mode.startswith("I;16") or not (inverted or bits < 16):
        return image
    values, top = np.asarray(image).astype(np.uint32), (1 << bits) - 1
    values = (top - values if inverted else values) * 65535 // top
    return _with_info(Image.fromarray(values.astype(np.uint16)), image)


def _png(image: Any) -> Mend | str:
    start = _start_of(image)
    # A profile says how colours are to be shown, too, and PIL reads it.
    said = b"" if "icc_profile" in image.info else _chunk(start, b"cICP")
    if said and not _is_plain(said[0], said[1]):
        return f"a PNG {_VIDEO}"
    depth, kind = start[24:26] if len(start) > 26 else (8, 0)
    if (depth, kind) == (16, 2) and isinstance(image.info.get("transparency"), tuple):
        return partial(_clear_colour, lower=_lower_bytes(image))
    return partial(_clear_grey, levels=255 // ((1 << depth) - 1)) if kind == 0 and depth in (2, 4) else _as_it_is


def _clear_grey(image: Image.Image, levels: int) -> Image.Image:
    """Scale the grey that is transparent as PIL has scaled the pixels."""
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return image
    image = _with_info(image.copy(), image)
    image.info["transparency"] = clear * levels
    return image


def _lower_bytes(image: Any) -> Image.Image:
    """Return the lower bytes of a PNG of 16-bit colours, of which PIL keeps the upper ones."""
    place = image.fp.tell()
    image.fp.seek(0)
    again: Any = Image.open(io.BytesIO(image.fp.read()), formats=("PNG",))
    image.fp.seek(place)
    # Read as if the lower byte were the upper one.
    again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
    again.load()
    return Image.fromarray(np.asarray(again))


def _clear_colour(image: Image.Image, lower: Image.Image) -> Image.Image:
    """Give an image the opacity that follows from its transparent colour, which has 16 bits."""
    clear = np.array(image.info["transparency"], np.uint16)
    same = (np.asarray(image) == clear >> 8) & (np.asarray(lower) == clear & 0xFF)
    made = _with_info(image.copy(), image)
    made.putalpha(Image.fromarray(np.where(same.all(axis=-1), 0, 255).astype(np.uint8)))
    made.info.pop("transparency", None)
    return made


def _chunk(png: bytes, kind: bytes) -> bytes:
    """Return the body of a chunk before the pixels of a PNG; empty if there is none."""
    place = 8
    while place + 8 <= len(png):
        length, found = struct.unpack_from(">I4s", png, place)
        if found == kind:
            return png[place + 8 : place + 8 + length]
        if found == b"IDAT":
            break
        place += length + 12
    return b""


def _avif(image: Any) -> Mend | str:
    # The box lies in the metadata, which come first.
    _, box, rest = _start_of(image).partition(b"colrnclx")
    if "icc_profile" in image.info or not box or _is_plain(*struct.unpack_from(">HH", rest)):
        return _as_it_is
    return f"an AVIF {_VIDEO}"


def _is_plain(primaries: int, transfer: int) -> bool:
    return primaries in _PLAIN_PRIMARIES and transfer in _PLAIN_TRANSFERS


def _psd(image: Any) -> Mend | str:
    mode = int.from_bytes(_start_of(image, 26)[24:] or b"\1", "big")
    if mode in _PSD_MISREAD:
        return f"a Photoshop file {_PSD_MISREAD[mode]}"
    # Photoshop has laid the merged image over white already, or the channel is a mask that nobody sees.
    return _without_alpha


def _tga(image: Any) -> Mend | str:
    # The lowest four bits tell how many bits of a pixel are its opacity; PIL takes what is there for it.
    header = _start_of(image, 18)
    return _without_alpha if len(header) == 18 and not header[17] & 0x0F else _as_it_is


def _ppm(image: Any) -> Mend | str:
    return "a floating-point map (PFM) of linear light" if image.mode == "F" else _of_sixteen_bits


def _of_sixteen_bits(image: Image.Image) -> Image.Image:
    # PIL scales each depth above 8 bits to 16. In the mode of 32 bits, dark images would pass for those of 8.
    return Image.fromarray(np.asarray(image).astype(np.uint16)) if image.mode == "I" else image


def _dds(image: Any) -> Mend | str:
    return "a DDS texture of HDR" if getattr(image, "pixel_format", "").startswith("BC6H") else _as_it_is


def _start_of(image: Any, count: int = 2**16) -> bytes:
    """Return the first bytes of the file of an image, which is left where it was; none if it is closed already."""
    file = image.fp
    if file is None or file.closed:
        return b""
    place = file.tell()
    file.seek(0)
    try:
        return bytes(file.read(count))
    finally:
        file.seek(place)


# What each format has to be looked at for: returns how to mend an image, or what it is that cannot be mended.
_FORMATS: dict[str, Callable[[Any], Mend | str]] = {
    "TIFF": _tiff,
    "PNG": _png,
    "AVIF": _avif,
    "PSD": _psd,
    "TGA": _tga,
    "PPM": _ppm,
    "DDS": _dds,
}
