"""What a client asks for, checked: a request is one frozen value, whether it came from the page or through the API.

Every value of a request comes from a stranger. What is out of its range, of another type or too long is refused here,
before the model is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from renoise.config import VARIANTS
from renoise.edit_rules import require_changes
from renoise.edit_rules.changes import KEEP
from renoise.errors import Argument, ConfigError
from renoise.escaping import escaped, seen
from renoise.images import FITS
from renoise.inversion import Inversion
from renoise.ranges import LARGEST_SEED, number, whole
from renoise.web.limits import Limits

# What the page calls a mask that is painted there, beside the names that the library has for what to keep.
PAINTED = "painted"
# What it calls an edit without any of the knobs.
PLAIN = "plain"
# A guidance scale beyond this makes noise of every image.
MOST_GUIDANCE = 100.0
# No file system has longer names of files.
_LONGEST_NAME = 255
# No whole number that is asked for has more digits.
_DIGITS = 20


@dataclass(frozen=True, eq=False)
class Source:
    """What is edited: an image with the settings of its inversion, or an inversion.

    Attributes:
        image: in mode RGB; None where an inversion is given.
        inversion: of one image; None where an image is given.
        name: the name of the uploaded file, as its owner knows it.
        prompt: what the image shows.
        preset: one of `renoise.config.VARIANTS`; None is the default.
        steps: the sampler steps; None is what the preset has.
        iterations: the renoising iterations of each step; None is what the preset has.
        seed: the seed of the noises.
        fit: one of `renoise.images.FITS`.
        remarks: what the library warned of when the file was read, as sentences.
    """

    image: Image.Image | None
    inversion: Inversion | None
    name: str
    prompt: str = ""
    preset: str | None = None
    steps: int | None = None
    iterations: int | None = None
    seed: int = 0
    fit: str = "crop"
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EditRequest:
    """What the edits shall be.

    Attributes:
        source: what is edited.
        targets: the target prompts.
        strength: how much changes, in [0, 1]; None is the library's default.
        keep: one of `renoise.edit_rules.changes.KEEP`; None is the library's default.
        mask: where the image may change, in mode L; None is everywhere.
        guidance: the guidance scale; None is what suits the model and the preset.
        negative_prompt: what the edits shall not show; None is the inversion's.
    """

    source: Source
    targets: tuple[str, ...]
    strength: float | None = None
    keep: str | None = None
    mask: Image.Image | None = None
    guidance: float | None = None
    negative_prompt: str | None = None


def read_source(
    image: Image.Image | None, inversion: Inversion | None, name: str, values: Mapping[str, Any], limits: Limits
) -> Source:
    """Check what a client says of the source.

    Args:
        image: the uploaded image, in mode RGB.
        inversion: the uploaded inversion, which goes before the image.
        name: the name of the uploaded file.
        values: the fields `prompt`, `preset`, `steps`, `iterations`, `seed` and `fit`; those that are left out or None
            have their defaults. An inversion keeps its own settings, and they are not looked at.
        limits: the bounds.

    Raises:
        ConfigError: if there is neither an image nor an inversion, or a value is out of its range.
    """
    safe = escaped(name)[:_LONGEST_NAME] or "image.png"
    if inversion is not None:
        return Source(None, inversion, safe, inversion.prompts[0])
    if image is None:
        raise ConfigError("there is no image", argument="image", remedy="drop one, or pick an example")
    preset = _chosen(values.get("preset"), VARIANTS, "preset")
    fit = _chosen(values.get("fit"), FITS, "fit") or FITS[0]
    return Source(
        image,
        None,
        safe,
        _text(values.get("prompt"), "prompt", limits) or "",
        preset,
        _count(values.get("steps"), "num_steps", 1, limits.steps),
        _count(values.get("iterations"), "iterations", 0, limits.iterations),
        _count(values.get("seed"), "seed", 0, LARGEST_SEED) or 0,
        fit,
    )


def read_edit(source: Source, mask: Image.Image | None, values: Mapping[str, Any], limits: Limits) -> EditRequest:
    """Check what a client wants to have edited.

    Args:
        source: what is edited.
        mask: where it may change, in mode L; None is everywhere.
        values: the fields `targets` (lines of text, or a list), `strength`, `keep`, `guidance` and `negative_prompt`;
            those that are left out or None have their defaults.
        limits: the bounds.

    Raises:
        ConfigError: if there is no target, or a value is out of its range.
    """
    strength, keep, guidance = values.get("strength"), values.get("keep"), values.get("guidance")
    require_changes(None, strength, keep)
    return EditRequest(
        source,
        _targets(values.get("targets"), limits),
        None if strength is None else float(strength),
        _chosen(keep, KEEP, "keep"),
        mask,
        None if guidance is None else number(guidance, "guidance_scale", 0.0, MOST_GUIDANCE),
        _text(values.get("negative_prompt"), "negative_prompt", limits) or None,
    )


def _targets(given: Any, limits: Limits) -> tuple[str, ...]:
    lines = given.splitlines() if isinstance(given, str) else given
    if lines is not None and not isinstance(lines, (list, tuple)):
        raise ConfigError(Argument("targets"), f" must be text, one target prompt a line, not {seen(given)}")
    targets = [_text(line, "targets", limits) for line in lines or ()]
    found = tuple(target for target in targets if target)
    if not found:
        raise ConfigError(
            "there is no target prompt", argument="targets", remedy="say what the image shall show, one target a line"
        )
    if len(found) > limits.targets:
        raise ConfigError(
            f"there are {len(found)} target prompts, at most {limits.targets}",
            argument="targets",
            remedy="edit the image in several turns",
        )
    return found


def _text(given: Any, name: str, limits: Limits) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise ConfigError(Argument(name), f" must be text, not {seen(given)}")
    text = given.strip()
    if len(text) > limits.prompt_length:
        raise ConfigError(
            Argument(name),
            f" must have at most {limits.prompt_length:,} characters, not {len(text):,}",
            remedy="write less",
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(Argument(name), " must hold no character that is no text", remedy="write it again")
    return text


def _count(given: Any, name: str, least: int, most: int) -> int | None:
    """Return a whole number, which JSON may have as 4.0 and a field as digits; None and an empty field are none."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    value = int(given) if isinstance(given, float) and given.is_integer() else given
    if isinstance(given, str) and len(given) < _DIGITS and given.strip().isascii() and given.strip().isdigit():
        value = int(given)
    return whole(value, name, least, most)


def _chosen(given: Any, choices: tuple[str, ...], name: str) -> str | None:
    if given is None or given == "":
        return None
    if not isinstance(given, str) or given not in choices:
        raise ConfigError(Argument(name), f" {seen(given)} is unknown", remedy=f"use one of {', '.join(choices)}")
    return given
