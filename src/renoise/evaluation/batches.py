"""Images as the model sees them, and the prompts with which each of them is to be drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image
from torch import Tensor

from renoise import Editor, RenoiseError, images
from renoise.evaluation import data, true_results
from renoise.evaluation.data.truths import Truth
from renoise.evaluation.edit_metrics import fit_mask
from renoise.evaluation.judges import Judges
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.true_results import Aim

# What is asked of one image: a measurement without numbers for each target, or one for its reconstruction.
Asked = tuple[Measurement, ...]


@dataclass(frozen=True, eq=False)
class Fitted:
    """An image as the model sees it, before it is encoded."""

    image: Image.Image
    # Where an edit may change it, boolean (H, W); None if the data does not say so, or nothing is edited.
    mask: Tensor | None
    # Hash of the pixels of the image, of the mask and of the true results.
    digest: str
    # What is known of its edits, by their prompts.
    truths: Mapping[str, Truth] = field(default_factory=dict)

    @classmethod
    def of(cls, editor: Editor, example: data.Example, *, masked: bool) -> Fitted:
        """Fit an example to a model, with its mask and the truth about its edits or without them.

        Raises:
            ImageError: if the image cannot be read.
            ConfigError: if the mask does not fit it.
        """
        loaded = example.load()
        image: Image.Image = editor.fit(loaded)
        mask = None
        if masked and example.mask is not None:
            mask = fit_mask(example.mask, (loaded.height, loaded.width), editor.size)
        digest = hashlib.sha256(f"{image.width} x {image.height}".encode())
        digest.update(np.asarray(image.convert("RGB")).tobytes())
        if mask is not None:
            digest.update(mask.numpy().tobytes())
        truths = example.truths if masked else {}
        if truths:
            digest.update(true_results.digest(truths))
        return cls(image, mask, digest.hexdigest(), truths)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image that is encoded and waits to be drawn as what is asked of it."""

    asked: Asked
    # Where every edit may change it, boolean (H, W); an edit whose true result is known has its own mask.
    mask: Tensor | None
    # The fitted image, (1, 3, H, W) in [0, 1]; encoded, (1, C, h, w); and decoded again, which bounds a reconstruction.
    truth: Tensor
    z_0: Tensor
    round_trip: Tensor
    # Its self-similarity (1, T, T); None without the judge that needs it.
    structure: Tensor | None
    # The truth about its edits, by their prompts.
    aims: Mapping[str, Aim] = field(default_factory=dict)


# Images that are worked on at a time, of each of which equally much is asked.
Batch = Sequence[Encoded]


def encode_each(editor: Editor, fitted: Sequence[Fitted], judges: Judges) -> list[Encoded | RenoiseError]:
    """Encode fitted images as `encode` does; in place of one with which that fails its error is returned."""
    try:
        return [*encode(editor, fitted, judges)]
    except RenoiseError as error:
        if len(fitted) == 1:
            return [error]
        return [found for one in fitted for found in encode_each(editor, [one], judges)]


def encode(editor: Editor, fitted: Sequence[Fitted], judges: Judges) -> list[Encoded]:
    """Encode fitted images, of which nothing is asked yet.

    Raises:
        RenoiseError: if one of them cannot be encoded or decoded.
    """
    shown = [f.image for f in fitted]
    truth = images.to_tensor(shown)
    structure = None if judges.dino is None else judges.dino.self_similarity(truth)
    z_0 = editor.encode(shown)
    round_trip = editor.decode(z_0, "pt").cpu()
    found: list[Encoded] = []
    for i, f in enumerate(fitted):
        # Slices keep the strides, by which some of torch's kernels round differently.
        own = slice(i, i + 1)
        similarity = None if structure is None else structure[own]
        aims = true_results.aims(editor, f.truths, truth[own])
        found.append(Encoded((), f.mask, truth[own], z_0[own], round_trip[own], similarity, aims))
    return found


def batches(encoded: Sequence[Encoded], asked: Sequence[Asked]) -> list[Batch]:
    """Return the images of which anything is asked, in batches that ask equally much of each of their images."""
    counts = sorted({len(own) for own in asked} - {0})
    every = [replace(one, asked=own) for one, own in zip(encoded, asked, strict=True)]
    return [[one for one in every if len(one.asked) == count] for count in counts]


def divided(batch: Batch) -> list[Batch]:
    """Return a batch for each image, or, if there is one image, a batch for each target."""
    if len(batch) > 1:
        return [[one] for one in batch]
    return [[replace(batch[0], asked=(target,))] for target in batch[0].asked]
