"""What an edit gives back: the images that it drew, laid under masks, and where they could change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from renoise import images, masks
from renoise.inversion import Inversion
from renoise.masks import Mask
from renoise.model import Model


class Results:
    """The latents of an edit on their way to what its caller wants.

    Args:
        model: decodes them.
        inversion: what was edited.
        owners: for each target the index of its image in the inversion.
        output_type: one of `renoise.edit_settings.OUTPUT_TYPES`.
        fitted: the mask of each image of the inversion; None where all may change.
    """

    def __init__(
        self,
        model: Model,
        inversion: Inversion,
        owners: Sequence[int],
        output_type: str,
        fitted: Sequence[Mask] | None = None,
    ) -> None:
        self._model = model
        self._inversion = inversion
        self._fits = [inversion.fits[i] for i in owners]
        self._owners = owners
        self._output_type = output_type
        self._masks = None if fitted is None else [fitted[i] for i in owners]

    def edits(self, latents: Tensor) -> Any:
        """Return the edits of latents (targets, C, h, w): for "pil" a list of images, in the shape in which they come
        back.

        Where a mask is black, they have the pixels of their image, or those of the decoded z_0 where latents came in
        its place.

        Raises:
            NumericalError: if the autoencoder overflows.
        """
        if self._output_type == "latent":
            return latents
        pixels = self._model.decode(latents)
        if self._output_type == "pil":
            drawn = [images.unfit(one, fit) for one, fit in zip(images.to_pictures(pixels), self._fits, strict=True)]
            if self._masks is None:
                return drawn
            laid = zip(drawn, self._own(), self._masks, strict=True)
            return [masks.composite(edit, own, mask.shown) for edit, own, mask in laid]
        if self._masks is not None:
            covered = torch.stack([masks.opacity(mask.seen) for mask in self._masks]).to(pixels.device)
            pixels = torch.lerp(self._own_as_seen().to(pixels.device), pixels, covered)
        return images.given_out(pixels, self._output_type)

    def changed(self, told: Tensor | None, unchanged: Tensor | None) -> Any:
        """Return where each edit could change its image: masks with the output type and the size of the edits.

        Args:
            told: what the rule tells (see `renoise.edit_rules.TellingRule`); None if it was not asked for any step.
            unchanged: which targets are the source itself, boolean (targets,); None if none is.

        Returns:
            For "pil" images in mode L, white where everything could change; for "np" (B, H, W, 1), for "pt"
            (B, 1, H, W), and for "latent" (B, 1, h, w), with values in [0, 1].
        """
        count, latents = len(self._owners), self._inversion.latents
        told = latents.new_zeros(1, 1, 1, 1) if told is None else told.float()
        could = told.expand(count, 1, *latents.shape[-2:]).clamp(0.0, 1.0).clone()
        if unchanged is not None:
            could[unchanged.to(could.device)] = 0.0
        if self._output_type == "latent":
            return could
        seen = interpolate(could, self._inversion.size, mode="bilinear", align_corners=False)
        if self._output_type != "pil":
            if self._masks is not None:
                seen = torch.minimum(seen, torch.stack([mask.seen for mask in self._masks]).to(seen.device))
            return images.given_out(seen, self._output_type)
        greys = [Image.fromarray(levels[0]) for levels in (seen.cpu() * 255.0).round().to(torch.uint8).numpy()]
        shown = [images.unfit(grey, fit) for grey, fit in zip(greys, self._fits, strict=True)]
        if self._masks is None:
            return shown
        return [_within(grey, mask.shown) for grey, mask in zip(shown, self._masks, strict=True)]

    def _own(self) -> list[Tensor]:
        """Return the image of each target in the shape in which its edit comes back, uint8 (3, H, W)."""
        if self._inversion.images is not None:
            return [self._inversion.images[i] for i in self._owners]
        pictures = images.to_pictures(self._decoded())
        return [
            images.to_bytes(images.unfit(pictures[i], fit)) for i, fit in zip(self._owners, self._fits, strict=True)
        ]

    def _own_as_seen(self) -> Tensor:
        """Return the image of each target as the model sees it, float32 (targets, 3, H, W) in [0, 1]."""
        if self._inversion.images is None:
            return self._decoded()[list(self._owners)]
        pictures = (Image.fromarray(own.permute(1, 2, 0).numpy()) for own in self._own())
        fitted = zip(pictures, self._fits, strict=True)
        return images.to_tensor([images.refit(one, fit, self._inversion.size) for one, fit in fitted])

    def _decoded(self) -> Tensor:
        """Return the source's z_0 as pixels, float32 (B, 3, H, W) in [0, 1]."""
        trajectory = self._inversion.trajectory
        assert trajectory is not None  # masks want it, and were refused without
        return self._model.decode(trajectory[0].float())


def _within(grey: Image.Image, mask: Tensor) -> Image.Image:
    """Return the smaller of the levels of an image in mode L and of a mask (1, H, W) in [0, 1]."""
    levels = (mask[0].cpu() * 255.0).round().to(torch.uint8).numpy()
    return Image.fromarray(np.minimum(np.asarray(grey), levels))
