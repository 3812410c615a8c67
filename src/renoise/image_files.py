"""Image files: which of them are read, and one line for each way in which that can fail."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from renoise.errors import ImageError, ImageWarning, RenoiseError, reason

# Larger than any camera's image; beyond it a file is more likely a decompression bomb than a photograph.
MAX_PIXELS = 150_000_000
# Of these the first image is the whole of it: what follows are previews or layers.
_OF_ONE_IMAGE = ("MPO", "PSD")
_RAW = (".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f")
_CONVERT, _EXPORT = "convert it to JPEG or PNG first", "export it as PNG first"
# What PIL cannot read without a plug-in, and what to do with it.
_UNREAD = {
    ".heic": ("HEIC, which is not read here", _CONVERT),
    ".heif": ("HEIF, which is not read here", _CONVERT),
    ".avif": ("AVIF, which is not read here", _CONVERT),
    ".jxl": ("JPEG XL, which is not read here", _CONVERT),
    ".svg": ("a vector drawing (SVG), which is not read", _EXPORT),
    ".svgz": ("a vector drawing (SVG), which is not read", _EXPORT),
    ".pdf": ("a document (PDF), which is not read", "export its page as PNG first"),
}


def open_image(path: Path) -> Image.Image:
    """Read the image in a file, decoded but in whatever mode it has; of several frames the first.

    Raises:
        ImageError: if there is no regular file, or it cannot be opened or decoded, or is larger than `MAX_PIXELS`.

    Warns:
        ImageWarning: if the file holds several frames.
    """
    name = _short(path)
    _require_image_file(path, name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{name} cannot be opened: {reason(error)}", remedy="check its permissions") from error
    with file, decoding(name):
        image = _identified(file, path, name)
        require_area(image, name)
        image.load()
        frames = _count_frames(file)
    if frames > 1:
        warnings.warn(ImageWarning(f"{path} holds {frames} frames; the first is taken"), stacklevel=3)
    return image


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


def require_area(image: Image.Image, name: str) -> None:
    """Raise an `ImageError` for an image without pixels or with too many."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is too large: {width} x {height} pixels, at most {MAX_PIXELS:,}", remedy="scale it down first"
        )
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height})")


def _require_image_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {name}", remedy="check the path") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be opened: {reason(error)}", remedy="check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name} is a directory", remedy="name an image file")
    if not stat.S_ISREG(status.st_mode):
        # A pipe without a writer would be waited for, a device may never end.
        raise ImageError(f"{name} is a pipe or a device", remedy="save the image to a file and name that")
    if status.st_size == 0:
        raise ImageError(f"{name} is empty", remedy="give an image file such as PNG or JPEG")
    if path.suffix.lower() in _RAW:
        # Many of them are TIFF files in their outer form, of which PIL would read a small preview.
        raise ImageError(
            f"{name} is a camera's raw file, which is not read", remedy="develop it to TIFF, PNG or JPEG first"
        )


def _identified(file: BinaryIO, path: Path, name: str) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        what, remedy = _UNREAD.get(
            path.suffix.lower(), ("not an image that can be read", "give a PNG, JPEG, WebP, BMP, GIF or TIFF")
        )
        raise ImageError(f"{name} is {what}", remedy=remedy) from error


def _count_frames(file: BinaryIO) -> int:
    """Count the frames of a file on a separate image: counting moves through the frames and may fail at any."""
    try:
        file.seek(0)
        image = Image.open(file)
        return 1 if image.format in _OF_ONE_IMAGE else int(getattr(image, "n_frames", 1))
    except Exception:  # the first frame was read, and it is the one that counts
        return 1


def _short(path: Path) -> str:
    name = str(path)
    return name if len(name) <= 255 else f"{name[:80]}..."
