"""The bundled held-out images with the true results of their edits.

Each image is a drawing on a plain background. The artwork has every concept in every style, so the result that each
edit asks for exists as a drawing too, and no bundled model was trained on the source. The files are:

- `drawings/STYLE.webp`: the drawings of a style, with transparency, in rows on one sheet;
- `drawings.json`: which concept lies where on which sheet, and the colours of the backgrounds;
- `edits.jsonl`: one edit a line, whose images are named `concept/style/background`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from renoise.errors import ConfigError
from renoise.evaluation.data import captions
from renoise.evaluation.data.reading import Example, parse_json, read_text, shaped
from renoise.evaluation.data.truths import Colour, Truth
from renoise.image_files import open_image

_REMEDY = "install renoise-mini again"


class _Layout(msgspec.Struct):
    side: int
    margin: int
    columns: int
    backgrounds: dict[str, Colour]
    # The concepts of each style, in the order of its sheet.
    sheets: dict[str, list[str]]


class _Edit(msgspec.Struct):
    file: str
    kind: str
    prompt: str
    result: str
    others: list[str]


class Drawings:
    """Drawings on plain backgrounds, from the sheets of a folder.

    Args:
        folder: the folder with `drawings.json` and `drawings/`.

    Raises:
        ConfigError: if `drawings.json` is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "drawings.json"
        self._folder, self._layout = folder, shaped(parse_json(read_text(path), str(path)), _Layout, str(path), _REMEDY)
        self._places = {
            (concept, style): place
            for style, concepts in self._layout.sheets.items()
            for place, concept in enumerate(concepts)
        }
        self._sheet = cache(self._read_sheet)

    def image(self, name: str) -> Image.Image:
        """Return the image `concept/style/background`, in mode RGB.

        Raises:
            ConfigError: if there is no such drawing or background, or the sheet lacks it.
            ImageError: if the sheet cannot be read.
        """
        concept, style, background = self._parts(name)
        layout, place = self._layout, self._places[concept, style]
        top, left = (layout.side * number for number in divmod(place, layout.columns))
        drawing = self._sheet(style)[top : top + layout.side, left : left + layout.side]
        if drawing.shape != (layout.side, layout.side, 4):
            raise ConfigError(f"the sheet of {style} in {self._folder} has no drawing of {concept}", remedy=_REMEDY)
        side = layout.side + 2 * layout.margin
        image = np.full((side, side, 3), layout.backgrounds[background], np.float32)
        inside = slice(layout.margin, layout.margin + layout.side)
        alpha = drawing[..., 3:].astype(np.float32) / 255
        image[inside, inside] = alpha * drawing[..., :3] + (1 - alpha) * image[inside, inside]
        return Image.fromarray(np.rint(image).astype(np.uint8))

    def borders(self, name: str) -> tuple[Colour, ...]:
        """Return the colours of all backgrounds, that of the image first."""
        *_, background = self._parts(name)
        colours = self._layout.backgrounds
        return (colours[background], *(colour for other, colour in colours.items() if other != background))

    def _parts(self, name: str) -> tuple[str, str, str]:
        parts = name.split("/")
        if len(parts) != 3 or tuple(parts[:2]) not in self._places or parts[2] not in self._layout.backgrounds:
            raise ConfigError(f"{self._folder} has no image {name!r}", remedy=_REMEDY)
        return parts[0], parts[1], parts[2]

    def _read_sheet(self, style: str) -> npt.NDArray[np.uint8]:
        path = self._folder / "drawings" / f"{style.replace(' ', '-')}.webp"
        return np.asarray(open_image(path).convert("RGBA"))


def load(images: Path, edits: Path, limit: int | None = None) -> list[Example]:
    """Load the held-out images of one folder with the truth about their edits from the other.

    Raises:
        ConfigError: if a file is missing or damaged, or an edit has no true result.
    """
    truths = _truths(edits)
    examples = captions.load(images, limit)
    for example in examples:
        missing = [target for target in example.targets if target not in truths.get(example.name, {})]
        if missing:
            problem = f"{edits} has no true result of the edit {missing[0]!r} of {example.name}"
            raise ConfigError(problem, argument="source", remedy=_REMEDY)
    return [replace(example, truths=truths[example.name]) for example in examples]


def _truths(folder: Path) -> dict[str, Mapping[str, Truth]]:
    """Return the truth about each edit, by the image's name and the edit's prompt."""
    drawings, path = Drawings(folder), folder / "edits.jsonl"
    found: dict[str, dict[str, Truth]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}, line {number}"
        edit = shaped(parse_json(line, where), _Edit, where, _REMEDY)
        borders = drawings.borders(edit.result)
        result, *others = (partial(drawings.image, name) for name in (edit.result, *edit.others))
        found.setdefault(edit.file, {})[edit.prompt] = Truth(edit.kind, result, tuple(others), borders)
    return dict(found)
