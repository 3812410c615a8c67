"""What an inversion file may hold: the form of its record, its tensors, and how they go together.

A file may come from a stranger, or be damaged. All that it says of itself is checked here before its tensors are read:
every key is known, every value is of its type and in its bounds, and the tensors have the shapes that follow from the
record. A new attribute of `renoise.Inversion` is one more line in `Record`, or in `TENSORS` if it is a tensor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from renoise.config import InversionConfig
from renoise.errors import ConfigError
from renoise.image_files import MAX_PIXELS
from renoise.prompts import one_each
from renoise.ranges import LARGEST_SEED
from renoise.schedulers.forms import require_record

FORMAT_VERSION = 1
# More images than any device holds at a time, and longer prompts than any text encoder reads.
MOST_IMAGES = 10_000
LONGEST_PROMPT = 1_000_000
# The tensors of an inversion with their numbers of dimensions, and whether there must be one. B is the number of
# images, and S that of the inverted steps: latents (B, C, h, w), noise (S, B, C, h, w), residuals (S, B), the history
# (S, passes, B), the trajectory (S + 1, B, C, h, w), and the offsets of at most S steps (K, B, C, h, w).
# Embeddings in place of prompts are (1 or B, tokens, width), and the pooled ones (1 or B, width).
TENSORS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "latents": (4, True),
        "noise": (5, False),
        "residuals": (2, True),
        "residual_history": (3, False),
        "trajectory": (5, False),
        "offsets": (5, False),
        "prompt_embeds": (3, False),
        "pooled_prompt_embeds": (2, False),
        "negative_prompt_embeds": (3, False),
        "negative_pooled_prompt_embeds": (2, False),
    }
)
# Tensors with numbers in their names: what each IP-Adapter was shown, and the pixels of each image, bytes (3, H, W).
IMAGE_EMBEDS = "image_embeds_"
PIXELS = "pixels_"
_NUMBERED = re.compile(rf"{IMAGE_EMBEDS}[0-9]{{1,2}}|{PIXELS}[0-9]{{1,5}}")

_Images = Meta(min_length=1, max_length=MOST_IMAGES)
_Prompt = Annotated[str, Meta(max_length=LONGEST_PROMPT)]
_Prompts = _Prompt | Annotated[list[_Prompt], _Images]
_Side = Annotated[int, Meta(ge=1, le=MAX_PIXELS)]
_Offset = Annotated[int, Meta(ge=0, le=MAX_PIXELS)]
_Text = Annotated[str, Meta(max_length=100_000)]
_Box = tuple[_Offset, _Offset, _Side, _Side]


_Passes = Annotated[int, Meta(ge=0, le=10**12)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A form without other keys than its own: what this version does not know would change the result unsaid."""


class _Fit(_Strict, frozen=True):
    mode: Literal["crop", "pad", "stretch", "keep", "latents"]
    original_size: tuple[_Side, _Side]
    box: _Box | None = None


class _Fingerprint(_Strict, frozen=True):
    layout: _Text
    adapters: _Text
    weights: Annotated[list[float], Meta(max_length=1_000_000)]


class Record(_Strict, frozen=True, rename={"model_name": "model"}):
    """The form of the record in an inversion file.

    `config` and `scheduler` have forms of their own, in `renoise.config` and `renoise.schedulers.forms`.
    """

    format: Literal[1]
    config: dict[str, Any]
    prompt: _Prompts
    negative_prompt: _Prompts | None
    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED)] | None
    size: tuple[_Side, _Side]
    fits: Annotated[list[_Fit], _Images]
    batched: bool
    network_passes: _Passes
    scheduler: dict[str, Any]
    fingerprint: _Fingerprint
    model_name: _Text | None
    image_passes: Annotated[list[_Passes], _Images] | None = None
    for_edits: bool = False


def numbered(names: Iterable[str], prefix: str) -> list[str]:
    """Return the names that so many tensors with this prefix should have, from 0 on.

    Examples:
        >>> numbered(["latents", "pixels_0", "pixels_2"], "pixels_")
        ['pixels_0', 'pixels_1']
    """
    return [f"{prefix}{i}" for i in range(sum(name.startswith(prefix) for name in names))]


def require_inversion(content: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a record and the shapes of tensors are those of an inversion.

    Args:
        content: the record, as JSON has it.
        shapes: the shapes of the tensors, by name.

    Raises:
        ConfigError, SchedulerError: if they are not; the message names what is wrong.
    """
    try:
        # Infinities and lone surrogates are no JSON, but Python reads them.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
        record = msgspec.convert(content, Record)
    except ValueError as error:  # a ValidationError or a UnicodeEncodeError among them
        raise ConfigError(f"its record is none of an inversion: {error}") from error
    config = InversionConfig.from_record(record.config)
    require_record(record.scheduler)
    count = len(record.fits)
    one_each(record.prompt, count, "prompt")
    if record.negative_prompt is not None:
        one_each(record.negative_prompt, count, "negative_prompt")
    _expect(record.batched or count == 1, "batched")
    if record.image_passes is not None:
        _expect(len(record.image_passes) == count, "image_passes")
        _expect(max(record.image_passes) == record.network_passes, "image_passes")
    _expect("trajectory" in shapes or not record.for_edits, "trajectory")
    _expect(math.prod(record.size) <= MAX_PIXELS, "size")
    _expect(all(math.prod(fit.original_size) <= MAX_PIXELS for fit in record.fits), "fits")
    _expect(all(_is_within(fit.box, record.size) for fit in record.fits), "fits")
    _require_shapes(shapes, count, record.size, config.num_steps)
    for i, fit in enumerate(record.fits):
        comes_back = fit.original_size if fit.mode in ("pad", "keep") else record.size
        _expect(shapes.get(f"{PIXELS}{i}", (3, *comes_back)) == (3, *comes_back), "images")


def _require_shapes(shapes: Mapping[str, tuple[int, ...]], count: int, size: tuple[int, int], most_steps: int) -> None:
    for name, (_, needed) in TENSORS.items():
        _expect(name in shapes or not needed, name)
    for name, shape in shapes.items():
        if name not in TENSORS and not _NUMBERED.fullmatch(name):
            raise ConfigError(f"its tensor {name} is unknown to this version of renoise", remedy="update renoise")
        _expect(0 not in shape and (len(shape) == TENSORS[name][0] if name in TENSORS else len(shape) >= 2), name)
    embeds, pixels = numbered(shapes, IMAGE_EMBEDS), numbered(shapes, PIXELS)
    _expect(all(name in shapes for name in embeds), "image_embeds")
    _expect(len(pixels) in (0, count) and all(name in shapes for name in pixels), "images")
    _expect(all(len(shapes[name]) == 3 and shapes[name][0] == 3 for name in pixels), "images")
    _expect(all(math.prod(shapes[name]) <= 3 * MAX_PIXELS for name in pixels), "images")
    latents, (steps, images) = shapes["latents"], shapes["residuals"]
    _expect(latents[0] == count, "latents")
    # One latent stands for a square of pixels.
    height, width = latents[2:]
    _expect(size[0] % height == 0 and size[0] * width == size[1] * height, "latents")
    _expect(images == count and steps <= most_steps, "residuals")
    _expect(shapes.get("noise", (steps, *latents)) == (steps, *latents), "noise")
    _expect(shapes.get("trajectory", (steps + 1, *latents)) == (steps + 1, *latents), "trajectory")
    offsets = shapes.get("offsets", (steps, *latents))
    _expect(offsets[0] <= steps and offsets[1:] == latents, "offsets")
    history = shapes.get("residual_history", (steps, 1, count))
    _expect((history[0], history[2]) == (steps, count), "residual_history")


def _is_within(box: _Box | None, size: tuple[int, int]) -> bool:
    """Tell whether the part of an image that a fit can be undone with lies in it."""
    if box is None:
        return True
    top, left, height, width = box
    return top + height <= size[0] and left + width <= size[1]


def _expect(condition: bool, name: str) -> None:
    if not condition:
        raise ConfigError(f"its {name} make no sense")
