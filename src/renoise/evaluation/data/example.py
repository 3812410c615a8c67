"""One image of a data set, with what is known of it, and the checks of a finished set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from renoise import ConfigError
from renoise.evaluation.data.reading import is_file


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
        edit_type: what sort of edit it is, such as "add object".
    """

    name: str
    image: Path | Image.Image
    prompt: str
    targets: tuple[str, ...] = ()
    # Examples are compared without their masks, because an array has no single truth value.
    mask: npt.NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    edit_type: str | None = None


def checked(examples: list[Example], source: str, *, remedy: str) -> list[Example]:
    """Check that there are examples, that each has another name, and that their images exist.

    `source` is the set's name in errors, and `remedy` says what to do about missing images.
    """
    if not examples:
        raise ConfigError(f"{source} holds no images; expected at least one with its caption")
    name, times = Counter(example.name for example in examples).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"{source} names {name!r} {times} times; every name must occur once, so remove the others")
    missing = [e.image for e in examples if isinstance(e.image, Path) and not is_file(e.image)]
    if missing:
        some = "1 image is" if len(missing) == 1 else f"{len(missing)} images are"
        raise ConfigError(f"{some} missing of the {len(examples)} of {source}, first {missing[0]}; {remedy}")
    return examples
