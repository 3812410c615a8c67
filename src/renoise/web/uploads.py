"""Files that a client uploaded, read with the page's limits: images, painted masks and inversions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image, ImageChops

from renoise import images
from renoise.errors import ConfigError, ImageError, RenoiseError, StorageError
from renoise.image_files import decoding, open_bytes
from renoise.inversion import Inversion
from renoise.reading import read_bytes, require_file
from renoise.web.limits import Limits

# From this opacity on, a stroke of the brush counts as painted: its edge is smoothed.
_PAINTED = 128
# What stands before a file's path where Gradio hands it out.
_HANDED_OUT = "/gradio_api/file="
_PAINT = "the painted mask"


def read_image(path: str, limits: Limits) -> Image.Image:
    """Read an uploaded image in mode RGB.

    Args:
        path: where the server keeps the upload.
        limits: bound its bytes and its pixels.

    Raises:
        ImageError: if it is too large, or cannot be read.
    """
    with _named(path):
        _require_small(path, limits, ImageError)
        return images.load(path, max_pixels=limits.pixels)


def read_inversion(path: str, limits: Limits) -> Inversion:
    """Read an uploaded inversion of one image.

    Args:
        path: where the server keeps the upload.
        limits: bound its bytes, its pixels and its steps.

    Raises:
        StorageError: if it is too large, or cannot be read.
        ConfigError: if it holds several images, or is more than the page works on.
    """
    with _named(path):
        _require_small(path, limits, StorageError)
        inversion = Inversion.load(path)
        if inversion.batch_size != 1:
            raise ConfigError(
                f"{path} holds {inversion.batch_size} images, and the page works on one",
                remedy="invert the image by itself",
            )
        height, width = inversion.size
        if height * width > limits.pixels:
            raise ConfigError(
                f"{path} holds an image of {width} x {height} pixels, at most {limits.pixels:,}",
                remedy="invert a smaller image",
            )
        if inversion.config.num_steps > limits.steps:
            raise ConfigError(
                f"{path} has {inversion.config.num_steps} steps, at most {limits.steps}",
                remedy="invert the image in fewer steps",
            )
    return inversion


def read_mask(path: str, limits: Limits) -> Image.Image:
    """Read an uploaded mask in mode L, as `renoise.masks.load` does: white may change, transparency counts as black.

    Args:
        path: where the server keeps the upload.
        limits: bound its bytes and its pixels.

    Raises:
        ImageError: if it is too large, or cannot be read.
    """
    with _named(path):
        _require_small(path, limits, ImageError)
        return images.load(path, "black", limits.pixels).convert("L")


def painted_mask(layers: Sequence[str | bytes], limits: Limits) -> Image.Image | None:
    """Return what was painted on the layers of an image editor: white where any of them is painted, in mode L.

    Args:
        layers: each as the path of an upload, or as the bytes of an image file.
        limits: bound the bytes and the pixels of each.

    Returns:
        None if nothing is painted.

    Raises:
        ImageError: if a layer is too large, or cannot be read.
        ConfigError: if the layers have several sizes.
    """
    painted: Image.Image | None = None
    for layer in layers:
        data = read_bytes(layer, limits.upload_bytes, ImageError) if isinstance(layer, str) else layer
        if len(data) > limits.upload_bytes:
            raise ImageError(f"{_PAINT} has {len(data):,} bytes, at most {limits.upload_bytes:,}")
        opened = open_bytes(data, _PAINT, limits.pixels)
        with decoding(_PAINT):
            alpha = opened.convert("RGBA").getchannel("A")
        hard = alpha.point([0] * _PAINTED + [255] * (256 - _PAINTED))
        if painted is not None and painted.size != hard.size:
            raise ConfigError("the layers of the painted mask have several sizes", remedy="paint it again")
        painted = hard if painted is None else ImageChops.lighter(painted, hard)
    return None if painted is None or painted.getextrema()[1] == 0 else painted


def path_of(payload: Any) -> str | None:
    """Return where the server keeps an upload that a request names; None where it names none.

    Gradio has checked before that the path is one of an upload (see `renoise.web.guard`).

    Args:
        payload: what the request holds: None, a path, or an object with a path.

    Raises:
        ConfigError: if it is something else.
    """
    found = payload.get("path") if isinstance(payload, dict) else payload
    if found in (None, "") and not (isinstance(payload, dict) and payload.get("url")):
        return None
    if not isinstance(found, str) or not isinstance(payload, dict) or "meta" not in payload:
        raise not_uploaded()
    return found


def not_uploaded() -> ConfigError:
    """Return the error for a file that a request names and that was not uploaded."""
    return ConfigError("an image or a file must be uploaded", remedy="give an upload, not a path or an address")


def require_uploads(values: Any) -> None:
    """Check that a request names files by where they lie on this server, and by no address on a network.

    An address under which this server hands out a file stands for that file, whoever is said to serve it: programs get
    such addresses back from an upload. It is changed into the file's path, which Gradio then checks as any other.

    Args:
        values: all that a client sent, as JSON has it; changed in place.

    Raises:
        ConfigError: if a file in it has another address, or brings its bytes along in one.
    """
    left = [values]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            _require_upload(one)
            left += one.values()
        elif isinstance(one, (list, tuple)):
            left += one


def _require_upload(file: dict[Any, Any]) -> None:
    path, url = file.get("path"), file.get("url")
    if isinstance(path, str) and _HANDED_OUT in path:
        file["path"] = path = unquote(path.partition(_HANDED_OUT)[2])
    if isinstance(path, str) and ("://" in path or path.startswith("data:")):
        raise ConfigError("a file has an address in place of an upload", remedy="download it and upload it here")
    if isinstance(url, str) and url.startswith("data:"):
        raise ConfigError("a file brings its bytes along in its address", remedy="upload it here")


def _require_small(path: str, limits: Limits, error: type[RenoiseError]) -> None:
    if not os.path.lexists(path):
        raise error(f"{path} is no longer on the server, which keeps files for a while", remedy="upload it again")
    size = require_file(path, error).st_size
    if size > limits.upload_bytes:
        raise error(
            f"{path} is too large: {size:,} bytes, at most {limits.upload_bytes:,}", remedy="give a smaller file"
        )


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the upload in errors as its owner does, and not by the folder in which the server keeps it."""
    folder = f"{Path(path).parent}/"
    try:
        yield
    except RenoiseError as error:
        told = [part.replace(folder, "") if isinstance(part, str) else part for part in error.problem]
        raise type(error)(*told, argument=error.argument, remedy=error.remedy) from error
