"""From the values that a client sends to checked requests: uploads are read, and everything else is checked.

The page sends what its inputs hold, as Gradio's browser side made it, and calls of the API send the same. Gradio's own
preprocessing is switched off, because it opens uploads without this library's limits and words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from renoise.errors import ConfigError
from renoise.web.forms import PAINTED, PLAIN, EditRequest, Source, read_edit, read_source
from renoise.web.hearing import hearing
from renoise.web.limits import Limits
from renoise.web.sentences import told
from renoise.web.uploads import painted_mask, path_of, read_image, read_inversion, read_mask

# Gives the bytes of the layers that a browser sent ahead under a name, and forgets them.
Layers = Callable[[str], list[bytes]]


def source_of(values: Mapping[str, Any], limits: Limits) -> Source:
    """Read and check what is to be edited.

    Args:
        values: `image` and `inversion`, uploads or None, and the fields of `renoise.web.forms.read_source`.
        limits: the bounds.

    Raises:
        RenoiseError: if an upload cannot be read, or a value is out of its range.
    """
    stored = path_of(values.get("inversion"))
    if stored is not None:
        return read_source(None, read_inversion(stored, limits), _name(values["inversion"], stored), values, limits)
    path = path_of(values.get("image"))
    if path is None:
        return read_source(None, None, "", values, limits)
    remarks: list[str] = []
    with hearing(lambda warning: remarks.append(told(warning))):
        image = read_image(path, limits)
    source = read_source(image, None, _name(values["image"], path), values, limits)
    return replace(source, remarks=tuple(remark.replace(f"{Path(path).parent}/", "") for remark in remarks))


def edit_of(values: Mapping[str, Any], limits: Limits, layers: Layers | None = None) -> EditRequest:
    """Read and check what is to be edited, and how.

    Args:
        values: those of `source_of`; `mask`, an upload; `paint`, what an image editor holds, which counts where `keep`
            is "painted" (where it is "plain", no knob counts); and the fields of `renoise.web.forms.read_edit`.
        limits: the bounds.
        layers: gives what a browser painted.

    Raises:
        RenoiseError: as for `source_of`, or if nothing is painted.
    """
    source = source_of(values, limits)
    if values.get("keep") == PLAIN:
        return read_edit(source, None, {**values, "keep": None, "strength": None}, limits)
    if values.get("keep") != PAINTED:
        path = path_of(values.get("mask"))
        return read_edit(source, None if path is None else read_mask(path, limits), values, limits)
    mask = _painted(values.get("paint"), limits, layers)
    return read_edit(source, mask, {**values, "keep": None}, limits)


def _painted(paint: Any, limits: Limits, layers: Layers | None) -> Image.Image:
    painted: list[str | bytes] = []
    if isinstance(paint, Mapping):
        sent = paint.get("id")
        if isinstance(sent, str) and layers is not None:
            painted = list(layers(sent))
        else:
            paths = [path_of(layer) for layer in paint.get("layers") or ()]
            painted = [path for path in paths if path is not None]
    mask = painted_mask(painted, limits)
    if mask is None:
        raise ConfigError("nothing is painted", argument="mask", remedy="paint over what may change, or keep otherwise")
    return mask


def _name(upload: Mapping[str, Any], path: str) -> str:
    """Return the name of an uploaded file as its owner knows it."""
    own = upload.get("orig_name")
    return Path(own if isinstance(own, str) and own else path).name
