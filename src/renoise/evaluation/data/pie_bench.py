"""PIE-Bench: 700 images with an edit prompt, a mask of what may change, and the type of the edit.

Ju et al., "PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code" (ICLR 2024, arXiv 2310.01506).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from renoise.errors import ConfigError
from renoise.escaping import encodable
from renoise.evaluation.data.reading import Example, checked, parse_json, prompt_of, read_text, shaped

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
_EDIT_TYPES_BY_ID = {str(number): edit_type for number, edit_type in enumerate(EDIT_TYPES)}
_REMEDY = f"get it from {DOWNLOAD}"


class _Entry(msgspec.Struct):
    image_path: Annotated[str, msgspec.Meta(min_length=1)]
    original_prompt: str
    editing_prompt: str
    editing_type_id: str | int
    mask: list[Annotated[int, msgspec.Meta(ge=0)]]


def load(folder: Path, limit: int | None = None) -> list[Example]:
    """Load PIE-Bench from the folder with `mapping_file.json` and `annotation_images/`, without its [brackets]."""
    path = folder / MAPPING
    form = f"{path} must hold an object of entries by id"
    mapping = shaped(parse_json(read_text(path), str(path)), dict[str, Any], form, _REMEDY)
    examples = [_example(folder, name, entry) for name, entry in islice(mapping.items(), limit)]
    return checked(examples, str(path), remedy=f"get them from {DOWNLOAD} and unpack them into {folder / IMAGES}")


def decode_mask(runs: Sequence[int], where: str) -> npt.NDArray[np.bool_]:
    """Return the mask of a list start, length, start, ... of the runs of True, row by row; boolean (512, 512).

    The outermost pixels are always True. The benchmark's own evaluation holds its annotations for unreliable there and
    does not ask that they be preserved; numbers are comparable with published ones only if that is done here too.

    Examples:
        >>> mask = decode_mask([512 + 10, 3], "the mask")
        >>> mask[1, 8:15].tolist()
        [False, False, True, True, True, False, False]
    """
    if len(runs) % 2:
        raise ConfigError(f"{where} must be pairs of start and length, and has {len(runs)} numbers", remedy=_REMEDY)
    mask = np.zeros(SIDE * SIDE, dtype=np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        # The benchmark's decoder cuts off a run that goes past the end; a run that begins there is damage.
        if start >= mask.size:
            beyond = f"a run from {start} of length {length}, beyond the {SIDE} x {SIDE} pixels of the image"
            raise ConfigError(f"{where} has {beyond}", remedy=_REMEDY)
        mask[start : start + length] = True
    square = mask.reshape(SIDE, SIDE)
    square[[0, -1], :] = True
    square[:, [0, -1]] = True
    return square


def _example(folder: Path, name: str, content: Any) -> Example:
    where = f"{folder / MAPPING}, entry {name!r}"
    entry = shaped(content, _Entry, where, _REMEDY)
    edit_type = _EDIT_TYPES_BY_ID.get(str(entry.editing_type_id))
    if edit_type is None:
        raise ConfigError(f"{where}: 'editing_type_id' must be 0 to 9, not {entry.editing_type_id!r}", remedy=_REMEDY)
    return Example(
        name=encodable(name),
        image=folder / IMAGES / entry.image_path,
        prompt=prompt_of(_bare(entry.original_prompt), f"{where}, 'original_prompt'"),
        targets=(prompt_of(_bare(entry.editing_prompt), f"{where}, 'editing_prompt'"),),
        mask=decode_mask(entry.mask, f"{where}, the mask"),
        edit_type=edit_type,
    )


def _bare(prompt: str) -> str:
    """Return a prompt without the brackets, which mark where the two prompts of an entry differ."""
    return prompt.replace("[", "").replace("]", "")
