"""One image of a data set, with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class Example:
    """An image with its caption and, where the data has them, edits of it.

    Attributes:
        name: unique within the data set and the same at every load: the image's path in its folder, its id in COCO or
            PIE-Bench, its row in a Hugging Face data set.
        image: the file, or the image itself where the data set holds no files.
        prompt: the caption.
        targets: prompts to edit the image with.
        mask: boolean (H, W), True where an edit may change the image.
        kind: the type of the edit, such as "add object".
    """

    name: str
    picture: Path | Image.Image
    prompt: str
    targets: tuple[str, ...] = ()
    # An array has no single truth value, so that two examples could not be compared with it.
    mask: npt.NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    kind: str | None = None
