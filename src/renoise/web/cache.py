"""Inversions that were made before, in memory: the second edit of an image costs no inversion pass."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from PIL import Image

from renoise.config import InversionConfig
from renoise.inversion import Inversion
from renoise.quality import Quality


@dataclass(frozen=True, eq=False)
class Known:
    """An inversion with what was found out about it.

    Attributes:
        inversion: of one image.
        original: the image as edits of it come back; None where an inversion file did not keep it.
        reconstruction: the image drawn again.
        quality: how true that is; None where there is no image to compare with.
        seconds: how long it took.
    """

    inversion: Inversion
    original: Image.Image | None
    reconstruction: Image.Image
    quality: Quality | None
    seconds: float

    @property
    def nbytes(self) -> int:
        """The size in memory, in bytes."""
        shown = [self.reconstruction, *([] if self.original is None else [self.original])]
        return self.inversion.nbytes + sum(3 * image.width * image.height for image in shown)


class Inversions:
    """A bounded cache that forgets first what was used least recently; several threads may use it.

    Nothing in it names who asked for an inversion, and nothing of it is written to disk.

    Args:
        most_bytes: how large all of it together may be. What is larger by itself is not kept.

    Examples:
        >>> len(Inversions(1000))
        0
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, Known] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """The size of all that is held, in bytes."""
        with self._lock:
            return self._size()

    def get(self, key: str) -> Known | None:
        """Return what is known under a key, and take note of its use; None if nothing is."""
        with self._lock:
            known = self._held.get(key)
            if known is not None:
                self._held.move_to_end(key)
            return known

    def put(self, key: str, known: Known) -> None:
        """Remember an inversion, and forget others until there is room for it."""
        with self._lock:
            self._held.pop(key, None)
            if known.nbytes > self._most_bytes:
                return
            self._held[key] = known
            while self._size() > self._most_bytes:
                self._held.popitem(last=False)

    def _size(self) -> int:
        return sum(known.nbytes for known in self._held.values())


def key_of(
    image: Image.Image,
    prompt: str,
    negative_prompt: str | None,
    config: InversionConfig,
    fit: str,
    fingerprint: Mapping[str, Any],
) -> str:
    """Return the key of an inversion: all that decides it, and nothing else.

    Args:
        image: in mode RGB, before it is fitted.
        prompt: what it shows.
        negative_prompt: of a guided inversion.
        config: the settings, with the seed.
        fit: how the image is fitted.
        fingerprint: of the model.

    Examples:
        >>> settings = InversionConfig(), "crop", {"layout": "", "weights": [], "adapters": ""}
        >>> red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        >>> key_of(red, "a cat", None, *settings) == key_of(blue, "a cat", None, *settings)
        False
    """
    record = {
        "size": image.size,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "config": config.to_record(),
        "fit": fit,
        "fingerprint": dict(fingerprint),
    }
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()
