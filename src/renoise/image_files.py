"""Image files: which of them are read, and one line for each way in which that can fail."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from renoise.errors import ImageError, ImageWarning, RenoiseError, reason
from renoise.image_layouts import require_layout
from renoise.reading import require_file

# Larger than any camera's image; beyond it a file is more likely a decompression bomb than a photograph.
MAX_PIXELS = 150_000_000
# The formats of PIL's own that are read. The list is closed: PIL hands EPS to Ghostscript and WMF to the system,
# whatever the file is called, and opens others without being able to decode them. What a program has taught PIL by a
# plug-in, such as HEIC, is read as well: it was asked for.
READ_FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000"),
    *("PPM", "ICO", "ICNS", "PSD", "TGA", "PCX", "DDS", "QOI", "SGI"),
)
# More than an uncompressed image of `MAX_PIXELS` in four channels of 16 bits has.
MAX_BYTES = 2 * 2**30
# Of these the first image is the whole of it: what follows are previews or layers.
_OF_ONE_IMAGE = ("MPO", "PSD", "ICNS")
_RAW = (".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f")
_CONVERT, _EXPORT = "convert it to JPEG or PNG first", "export it as PNG first"
# What PIL cannot read without a plug-in, and what to do with it.
_UNREAD = {
    ".heic": ("HEIC, which is not read here", _CONVERT),
    ".heif": ("HEIF, which is not read here", _CONVERT),
    ".avif": ("no AVIF that can be read here", _CONVERT),
    ".jxl": ("JPEG XL, which is not read here", _CONVERT),
    ".svg": ("a vector drawing (SVG), which is not read", _EXPORT),
    ".svgz": ("a vector drawing (SVG), which is not read", _EXPORT),
    ".pdf": ("a document (PDF), which is not read", "export its page as PNG first"),
    ".eps": ("a PostScript drawing, which is not read", _EXPORT),
    ".ps": ("a PostScript drawing, which is not read", _EXPORT),
    ".wmf": ("a Windows metafile, which is not read", _EXPORT),
    ".emf": ("a Windows metafile, which is not read", _EXPORT),
}
# How files of such formats begin, whatever they are called.
_BEGINNINGS = {b"%!PS": ".eps", b"\xc5\xd0\xd3\xc6": ".eps", b"%PDF": ".pdf", b"\xd7\xcd\xc6\x9a": ".wmf"}


def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the image in a file, decoded but in whatever mode it has; of several frames the first.

    Args:
        path: the file.
        max_pixels: the most pixels that it may have, `MAX_PIXELS` or fewer; a larger one is refused before it is
            decoded.

    Raises:
        ImageError: if there is no regular file, or it cannot be opened or decoded, is larger than `max_pixels`, or has
            a layout that is known to be decoded wrongly.

    Warns:
        ImageWarning: if the file holds several frames.
    """
    name = str(path)
    _require_image_file(path, name)
    try:
        # Without waiting, in case the file has become a pipe since it was looked at.
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        raise ImageError(f"{name} cannot be opened: {reason(error)}", remedy="check its permissions") from error
    with file:
        return _decoded(file, name, path.suffix.lower(), max_pixels)


def open_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the image in the bytes of a file, as `open_image` does.

    Args:
        data: all bytes of the file.
        name: what errors call it.
        max_pixels: as for `open_image`.

    Raises:
        ImageError: as `open_image` does.
    """
    return _decoded(io.BytesIO(data), name, "", max_pixels)


def _decoded(file: BinaryIO, name: str, suffix: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    with decoding(name):
        image = decoded(_identified(file, name, suffix), name, max_pixels)
        frames = _count_frames(file)
    if frames > 1:
        warnings.warn(ImageWarning(f"{name} holds {frames} frames; the first is taken"), stacklevel=4)
    return image


def decoded(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image that PIL has opened, within the limits of this module, and mend what PIL decodes wrongly.

    Args:
        image: of any mode; one that holds its pixels already is checked as well.
        name: what errors call it.
        max_pixels: the most pixels that it may have.

    Raises:
        ImageError: if its format is not read, it has no pixels or too many, or a layout that is decoded wrongly.
            Decoders raise other errors (`decoding`).
    """
    require_area(image, name, max_pixels)
    if image.format is not None and not _is_read(image.format, type(image)):
        raise ImageError(f"{name} is of the format {image.format}, which is not read", remedy="convert it to PNG first")
    mend = require_layout(image, name)
    image.load()
    return mend(image)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever PIL raises for a damaged image, which may be nearly anything, into one `ImageError`.

    Its warnings are kept back: it warns of what it reads all the same, and of sizes for which `MAX_PIXELS` counts.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RenoiseError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large: more than {MAX_PIXELS:,} pixels", remedy="scale it down first"
        ) from error
    except Exception as error:
        problem = " ".join(reason(error).split()) or type(error).__name__
        raise ImageError(
            f"{name} cannot be read as an image: {problem}", remedy="it may be damaged or cut short"
        ) from error


def require_area(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise an `ImageError` for an image without pixels or with too many."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is too large: {width} x {height} pixels, at most {max_pixels:,}", remedy="scale it down first"
        )
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height})")


def _require_image_file(path: Path, name: str) -> None:
    size = require_file(path, ImageError).st_size
    if size == 0:
        raise ImageError(f"{name} is empty", remedy="give an image file such as PNG or JPEG")
    if size > MAX_BYTES:
        raise ImageError(f"{name} is too large: {size:,} bytes, at most {MAX_BYTES:,}", remedy="scale it down first")
    if path.suffix.lower() in _RAW:
        # Many of them are TIFF files in their outer form, of which PIL would read a small preview.
        raise ImageError(
            f"{name} is a camera's raw file, which is not read", remedy="develop it to TIFF, PNG or JPEG first"
        )


def _opened(file: BinaryIO) -> Image.Image:
    """Open a file of one of the formats that are read, as far as this Pillow has them."""
    Image.init()
    known = [name for name, (factory, _) in Image.OPEN.items() if _is_read(name, factory)]
    return Image.open(file, formats=sorted(known, key=[*READ_FORMATS, *known].index))


def _is_read(name: str, factory: Any) -> bool:
    """Tell whether a format is read: one of `READ_FORMATS`, or one of a plug-in that is no part of PIL."""
    return name in READ_FORMATS or str(getattr(factory, "__module__", "PIL")).partition(".")[0] != "PIL"


def _identified(file: BinaryIO, name: str, suffix: str) -> Image.Image:
    beginning = file.read(4)
    file.seek(0)
    try:
        return _opened(file)
    except UnidentifiedImageError as error:
        what, remedy = _UNREAD.get(
            _BEGINNINGS.get(beginning, suffix),
            ("not an image that can be read", "give a PNG, JPEG, WebP, BMP, GIF or TIFF"),
        )
        raise ImageError(f"{name} is {what}", remedy=remedy) from error


def _count_frames(file: BinaryIO) -> int:
    """Count the frames of a file on a separate image: counting moves through the frames and may fail at any."""
    try:
        file.seek(0)
        image = _opened(file)
        return 1 if image.format in _OF_ONE_IMAGE else int(getattr(image, "n_frames", 1))
    except Exception:  # the first frame was read, and it is the one that counts
        return 1
