"""What a run has to say in the end: some lines to read, or one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from renoise.cli.work import Quality, Work
    from renoise.inversion import Inversion

_PURPOSES = {"inversion": "inverting", "reconstruction": "reconstructing", "editing": "editing"}


def as_json(document: Mapping[str, Any]) -> str:
    """A JSON document; infinities and NaN, which JSON does not have, become null."""
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def document(
    command: str,
    source: Path,
    inversion: Inversion,
    work: Work,
    *,
    outputs: Sequence[Mapping[str, Any]],
    compare: Path | None,
    quality: Quality | None,
    seconds: float,
    edit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that a run did, as data; `edit` is what decided the edits, where there are any."""
    from renoise import __version__

    return {
        "command": command,
        "version": __version__,
        "model": work.model,
        "source": str(source),
        **settings(inversion),
        **(edit or {}),
        "outputs": list(outputs),
        "compare": None if compare is None else str(compare),
        "psnr": None if quality is None else asdict(quality),
        "network_passes": {purpose: work.passes[purpose] for purpose in _PURPOSES},
        "residual": residual(inversion),
        "seconds": {"loading": round(work.loading_seconds, 3), "work": round(seconds, 3)},
    }


def settings(inversion: Inversion) -> dict[str, Any]:
    """What decided an inversion, as data."""
    config = inversion.config
    low = config.renoising_low_noise
    return {
        "prompt": inversion.prompt,
        "negative_prompt": inversion.negative_prompt,
        "steps": config.num_steps,
        "strength": config.strength,
        "renoise": config.renoising.iterations,
        "renoise_low_noise": config.renoising.iterations if low is None else low.iterations,
        "inversion_guidance": config.guidance_scale,
        "edit_losses": None if config.edit_losses is None else asdict(config.edit_losses),
        "noise_correction": None if config.noise_correction is None else asdict(config.noise_correction),
        "seed": inversion.seed,
        "fit": inversion.fits[0].mode,
        "size": list(inversion.size),
    }


def output(path: Path, prompt: str, picture: Image.Image) -> dict[str, Any]:
    """An image that was written, as data; its size is (height, width)."""
    return {"path": str(path), "prompt": prompt, "size": [picture.height, picture.width]}


def residual(inversion: Inversion) -> dict[str, float]:
    """How far the steps are from their fixed points: the worst and the mean."""
    return {"max": float(inversion.residuals.max()), "mean": float(inversion.residuals.mean())}


def summary(work: Work, quality: Quality | None, seconds: float, written: Iterable[Path]) -> str:
    """The lines at the end of a run: what was written, and what it took."""
    passes = ", ".join(f"{work.passes[p]} {verb}" for p, verb in _PURPOSES.items() if work.passes[p])
    parts = [
        *([] if quality is None else [_in_words(quality)]),
        f"{work.passes.total()} network passes ({passes})",
        f"{seconds:.1f} s (and {work.loading_seconds:.1f} s to load the model)",
    ]
    return "\n".join([*(f"wrote {path}" for path in written), "; ".join(parts)])


def _in_words(quality: Quality) -> str:
    text = f"reconstruction: PSNR {decibels(quality.picture)} against the image"
    if quality.round_trip is None or quality.bound is None:
        return text
    return (
        f"{text}, {decibels(quality.round_trip)} against the autoencoder's round trip (which has "
        f"{decibels(quality.bound)})"
    )


def decibels(value: float) -> str:
    """A PSNR to read.

    Example:
        >>> decibels(26.123), decibels(float("inf"))
        ('26.1 dB', 'infinite')
    """
    return f"{value:.1f} dB" if math.isfinite(value) else "infinite"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
