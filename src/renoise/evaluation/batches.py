"""Images as the model sees them, and as what they are to be drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from torch import Tensor

from renoise import images
from renoise.editor import Editor
from renoise.evaluation import data
from renoise.evaluation.edit_metrics import fit_mask
from renoise.evaluation.judges import Judges
from renoise.evaluation.measurement import Measurement

# What is asked of one image: a measurement without its numbers for each target, or one for its reconstruction.
Asked = tuple[Measurement, ...]


@dataclass(frozen=True, eq=False)
class Fitted:
    """An image as the model sees it, not encoded yet.

    Attributes:
        image: cropped and resampled.
        mask: where an edit may change it, boolean (H, W); None where the data does not say, or nothing is edited.
        digest: hash of the image's pixels, and of the mask's.
    """

    picture: Image.Image
    mask: Tensor | None
    digest: str

    @classmethod
    def of(cls, editor: Editor, example: data.Example, *, masked: bool) -> Fitted:
        """Fitted to a model, with the mask or without.

        Raises:
            ImageError: if the image cannot be read.
            ConfigError: if the mask does not fit its image.
        """
        loaded = images.load(example.picture)
        picture: Image.Image = editor.fit(loaded)
        mask = None
        if masked and example.mask is not None:
            mask = fit_mask(example.mask, (loaded.height, loaded.width), editor.size)
        digest = hashlib.sha256(f"{picture.width} x {picture.height}".encode())
        digest.update(np.asarray(picture.convert("RGB")).tobytes())
        if mask is not None:
            digest.update(mask.numpy().tobytes())
        return cls(picture, mask, digest.hexdigest())


@dataclass(frozen=True, eq=False)
class Batch:
    """Images that are worked on at a time.

    Attributes:
        asked: what each of them is drawn as, equally often.
        truth: the fitted images, (B, 3, H, W) in [0, 1].
        z_0: encoded, (B, C, h, w).
        round_trip: encoded and decoded, which bounds a reconstruction, (B, 3, H, W).
        masks: where an edit may change them, boolean (H, W); None where the data does not say.
        structure: their self-similarities (B, T, T); None without a judge of edits that needs them.
    """

    asked: Sequence[Asked]
    truth: Tensor
    z_0: Tensor
    round_trip: Tensor
    masks: Sequence[Tensor | None]
    structure: Tensor | None

    @classmethod
    def of(cls, editor: Editor, fitted: Sequence[Fitted], judges: Judges) -> Batch:
        """Encoded, with nothing asked of them yet.

        Raises:
            NumericalError: if the autoencoder overflows.
        """
        pictures = [f.picture for f in fitted]
        truth = images.to_tensor(pictures)
        structure = None if judges.dino is None else judges.dino.self_similarity(truth)
        z_0 = editor.encode(pictures)
        round_trip = editor.decode(z_0, "pt").cpu()
        return cls([()] * len(fitted), truth, z_0, round_trip, [f.mask for f in fitted], structure)

    def asking(self, asked: Sequence[Asked]) -> list[Batch]:
        """The images of which anything is asked, in batches of which equally much is asked of each image."""
        counts = sorted({len(own) for own in asked} - {0})
        wholes = ([i for i, own in enumerate(asked) if len(own) == count] for count in counts)
        return [self._part(wanted, [asked[i] for i in wanted]) for wanted in wholes]

    @property
    def drawings(self) -> int:
        """How many images are drawn, of all images and targets."""
        return sum(map(len, self.asked))

    def divided(self) -> list[Batch]:
        """Every image alone, or, of a single image, every target alone."""
        if len(self.asked) > 1:
            return [self._part([i], [own]) for i, own in enumerate(self.asked)]
        return [replace(self, asked=[(one,)]) for one in self.asked[0]]

    def _part(self, wanted: list[int], asked: Sequence[Asked]) -> Batch:
        return Batch(
            asked,
            self.truth[wanted],
            self.z_0[wanted],
            self.round_trip[wanted],
            [self.masks[i] for i in wanted],
            None if self.structure is None else self.structure[wanted],
        )
