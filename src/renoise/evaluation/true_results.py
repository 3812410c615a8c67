"""How near an edit comes to its true result, where an image of that exists (`data.truths`).

Near means the Euclidean distance between the latents of the measured model's own autoencoder. An edit has changed as
asked if the true result is the nearest of all images that it could be taken for. The colour of the border is the
median of its highest and lowest rows, and the nearest of the colours that it may have counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from renoise import Editor, images
from renoise.evaluation import metrics
from renoise.evaluation.data.truths import Colour, Truth

# The rows of the border, at each end, are this share of the height.
_BORDER = 1 / 32
# Source and true result agree where no channel differs by more than this.
_AGREES = 8 / 255
# Images that are encoded at a time.
_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Aim:
    """The truth about an edit as a model sees it.

    Attributes:
        result: the true result, (1, 3, H, W) in [0, 1].
        unedited: PSNR of the source against it, in dB.
        mask: where source and true result differ, boolean (H, W).
        candidates: latents of the true result, then of each image that the edit could be taken for instead, (N, D);
            a single row for an edit of the border's colour.
        borders: the colours that the border may have, that of the true result first.
    """

    result: Tensor
    unedited: float
    mask: Tensor
    candidates: Tensor
    borders: tuple[Colour, ...]

    @classmethod
    def of(cls, editor: Editor, truth: Truth, source: Tensor) -> Aim:
        """Look at the truth with an editor's model; the source is (1, 3, H, W) in [0, 1].

        Raises:
            RenoiseError: if an image cannot be read or encoded.
        """
        shown: list[Image.Image] = [editor.fit(painter()) for painter in (truth.result, *truth.others)]
        result = images.to_tensor(shown[:1])
        parts = [editor.encode(shown[i : i + _TOGETHER]) for i in range(0, len(shown), _TOGETHER)]
        return cls(
            result,
            metrics.decibels(source, result),
            ((result - source).abs() > _AGREES).any(dim=1)[0],
            torch.cat(parts).flatten(1).cpu(),
            truth.borders,
        )

    def numbers(self, edit: Tensor, latents: Tensor) -> dict[str, float | None]:
        """Return what is measured of an edit, by the names of a `Measurement`'s fields.

        Args:
            edit: the edit, (1, 3, H, W) in [0, 1]. It is looked at as an image of 8 bits.
            latents: the edit encoded by the same model, (C, h, w).
        """
        (seen,) = images.to_pictures(edit)
        right_border = _nearest_colour(seen, self.borders) == 0
        distances = (self.candidates - latents.flatten().cpu()).square().sum(dim=1)
        of_border = len(self.candidates) == 1
        return {
            "changed": float(right_border if of_border else int(distances.argmin()) == 0),
            "kept": None if of_border else float(right_border),
            "psnr_target": metrics.decibels(images.to_tensor([seen]), self.result),
            "psnr_target_unedited": self.unedited,
        }


def aims(editor: Editor, truths: Mapping[str, Truth], source: Tensor) -> dict[str, Aim]:
    """Look at all truths about an image's edits, by their prompts; see `Aim.of`."""
    return {target: Aim.of(editor, truth, source) for target, truth in truths.items()}


def digest(truths: Mapping[str, Truth]) -> bytes:
    """Return a hash of all that is known of an image's edits."""
    found = hashlib.sha256()
    for target, truth in sorted(truths.items()):
        found.update(f"{target} {truth.kind} {truth.borders} {len(truth.others)}".encode())
        for painter in (truth.result, *truth.others):
            found.update(np.asarray(painter()).tobytes())
    return found.digest()


def _nearest_colour(image: Image.Image, colours: Sequence[Colour]) -> int:
    """Return the place of the colour that is nearest to that of an image's border."""
    pixels = np.asarray(image)
    rows = max(1, round(len(pixels) * _BORDER))
    border = np.median(np.concatenate([pixels[:rows], pixels[-rows:]]).reshape(-1, 3), axis=0)
    return int(np.abs(np.array(colours) - border).sum(axis=1).argmin())
