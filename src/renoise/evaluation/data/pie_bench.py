"""PIE-Bench: 700 images with an edit prompt, a mask of what may change, and the type of the edit.

Ju et al., "PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code" (ICLR 2024, arXiv 2310.01506).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from renoise.errors import ConfigError
from renoise.evaluation.data.example import Example, checked
from renoise.evaluation.data.reading import parse_json, prompt_of, read_text, short

MAPPING = "mapping_file.json"
IMAGES = "annotation_images"
DOWNLOAD = "https://github.com/cure-lab/PnPInversion"
SIDE = 512
# The types of edits by their number, `editing_type_id`.
EDIT_TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change attribute content",
    "change attribute pose",
    "change attribute color",
    "change attribute material",
    "change background",
    "change style",
)


def load(folder: Path, limit: int | None = None) -> list[Example]:
    """Load PIE-Bench from the folder with `mapping_file.json` and `annotation_images/`, without its [brackets].

    Raises:
        ConfigError: if the mapping is not of the benchmark's form, or images are missing.
    """
    path = folder / MAPPING
    mapping = parse_json(read_text(path), str(path))
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path} must hold an object of entries by id, not {short(mapping)}; get it from {DOWNLOAD}")
    examples = [_example(folder, name, entry) for name, entry in islice(mapping.items(), limit)]
    return checked(examples, str(path), remedy=f"get them from {DOWNLOAD} and unpack them into {folder / IMAGES}")


def decode_mask(runs: Any, where: str) -> npt.NDArray[np.bool_]:
    """Return the mask that a list of runs describes, boolean (512, 512).

    The outermost pixels are always True. The benchmark's own evaluation holds its annotations for unreliable there and
    does not ask that they be preserved; numbers are comparable with published ones only if that is done here too.

    Args:
        runs: start, length, start, length, ... of the runs of True, in an image read row by row.
        where: the mask's name in errors.

    Raises:
        ConfigError: if they are no such runs, or reach beyond the image.

    Examples:
        >>> mask = decode_mask([512 + 10, 3], "the mask")
        >>> mask[1, 8:15].tolist()
        [False, False, True, True, True, False, False]
    """
    if not isinstance(runs, list) or any(type(number) is not int or number < 0 for number in runs):
        raise ConfigError(
            f"{where} must be a list of whole numbers start, length, ..., not {short(runs)}; get it from {DOWNLOAD}"
        )
    if len(runs) % 2:
        raise ConfigError(
            f"{where} must be pairs of start and length, and has {len(runs)} numbers; get it from {DOWNLOAD}"
        )
    mask = np.zeros(SIDE * SIDE, dtype=np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        # The benchmark's decoder cuts off a run that goes past the end; a run that begins there is damage.
        if start >= mask.size:
            raise ConfigError(
                f"{where} has a run from {start} of length {length}, beyond the {SIDE} x {SIDE} pixels of the image; "
                f"get it from {DOWNLOAD}"
            )
        mask[start : start + length] = True
    square = mask.reshape(SIDE, SIDE)
    square[[0, -1], :] = True
    square[:, [0, -1]] = True
    return square


def _example(folder: Path, name: str, entry: Any) -> Example:
    where = f"{folder / MAPPING}, entry {name!r}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be an object, not {short(entry)}; get the file from {DOWNLOAD}")
    file = entry.get("image_path")
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{where} must name its file in 'image_path', not {short(file)}; get it from {DOWNLOAD}")
    return Example(
        name=name,
        image=folder / IMAGES / file,
        prompt=_prompt(entry, "original_prompt", where),
        targets=(_prompt(entry, "editing_prompt", where),),
        mask=decode_mask(entry.get("mask"), f"{where}, the mask"),
        edit_type=_edit_type(entry.get("editing_type_id"), where),
    )


def _prompt(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a prompt without the brackets, which mark where the two prompts of an entry differ."""
    value = entry.get(key)
    bare = value.replace("[", "").replace("]", "") if isinstance(value, str) else value
    return prompt_of(bare, f"{where}, {key!r}")


def _edit_type(number: Any, where: str) -> str:
    numbers = [str(n) for n in range(len(EDIT_TYPES))]
    if str(number) not in numbers:
        raise ConfigError(f"{where}: 'editing_type_id' must be 0 to 9, not {short(number)}; get it from {DOWNLOAD}")
    return EDIT_TYPES[numbers.index(str(number))]
