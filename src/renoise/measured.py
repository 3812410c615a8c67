"""What presets cost and give, as measured on the bundled models (measured.toml): for lists, never for decisions."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Measured:
    """A preset's cost and quality with one model, over held-out images and seeds.

    Attributes:
        preset: one of `renoise.config.VARIANTS`.
        kind: the kind of model in words, with its sampler.
        model: the model that was measured.
        steps: its sampler steps.
        passes: network passes of an inversion, the mean over images.
        most_passes: those of the image that took most.
        psnr: PSNR of the reconstruction against the autoencoder's round trip in dB, the mean over images.
        psnr_low: its 5th percentile.
    """

    preset: str
    kind: str
    model: str
    steps: int
    passes: float
    most_passes: int
    psnr: float
    psnr_low: float


MEASURED: tuple[Measured, ...] = tuple(
    Measured(**entry)
    for entry in tomllib.loads((files("renoise") / "measured.toml").read_text(encoding="utf-8"))["measured"]
)
