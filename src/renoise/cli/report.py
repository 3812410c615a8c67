"""What a run has to say in the end: some lines to read, or one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.escaping import shown
from renoise.solvers import solver_record

if TYPE_CHECKING:
    from PIL import Image

    from renoise.cli.options import Reporting
    from renoise.cli.work import Work
    from renoise.inversion import Inversion
    from renoise.quality import Quality

_PURPOSES = {"inversion": "inverting", "reconstruction": "reconstructing", "editing": "editing"}


def as_json(document: Mapping[str, Any]) -> str:
    """Return a JSON document in ASCII without control characters.

    Infinities and NaN, which JSON does not have, become null.
    """
    # Of the characters that steer a terminal, DEL alone is one that JSON leaves as it is.
    return json.dumps(_plain(document), indent=2, allow_nan=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True)
class Run:
    """Everything that a run did.

    Attributes:
        command: its name.
        source: the image or inversion that it began with.
        inversion: the inversion.
        work: knows the model, the network passes and how long loading took.
        outputs: the files that were written, as data.
        compare: the comparison that was written; None if none was.
        quality: how true the reconstruction is; None if it was not measured.
        seconds: how long the work took after loading.
        edit: what decided the edits; empty if there are none.
    """

    command: str
    source: Path
    inversion: Inversion
    work: Work
    outputs: Sequence[Mapping[str, Any]]
    compare: Path | None
    quality: Quality | None
    seconds: float
    edit: Mapping[str, Any] = field(default_factory=dict)

    def told(self, reporting: Reporting) -> str:
        """Return what the user is told in the end, as the command was told to talk."""
        if reporting.json:
            return as_json(self.document())
        return "" if reporting.quiet else self.summary()

    def document(self) -> dict[str, Any]:
        """Return the run as data."""
        from renoise import __version__

        work, quality = self.work, self.quality
        return {
            "command": self.command,
            "version": __version__,
            "model": work.model,
            "source": str(self.source),
            **settings(self.inversion),
            **self.edit,
            "outputs": list(self.outputs),
            "compare": None if self.compare is None else str(self.compare),
            "psnr": None
            if quality is None
            else {"picture": quality.image, "round_trip": quality.round_trip, "bound": quality.bound},
            "network_passes": {purpose: work.passes[purpose] for purpose in _PURPOSES},
            "residual": residual(self.inversion),
            # A direct walk solves nothing that could converge.
            "converged": None if self.inversion.config.walking.direct else bool(self.inversion.converged.all()),
            "seconds": {"loading": round(work.loading_seconds, 3), "work": round(self.seconds, 3)},
        }

    def summary(self) -> str:
        """Return the lines at the end of a run: what was written, and what it took."""
        work = self.work
        written = [output["path"] for output in self.outputs]
        written += [output["mask"] for output in self.outputs if output.get("mask")]
        written += [] if self.compare is None else [self.compare]
        passes = ", ".join(f"{work.passes[p]} {verb}" for p, verb in _PURPOSES.items() if work.passes[p])
        number = work.passes.total()
        parts = [
            *([] if self.quality is None else [_in_words(self.quality, exact=self.inversion.for_edits)]),
            f"{number} network pass{'' if number == 1 else 'es'}" + (f" ({passes})" if passes else ""),
            f"{self.seconds:.1f} s (and {work.loading_seconds:.1f} s to load the model)",
        ]
        return "\n".join([*(f"wrote {shown(path)}" for path in written), *self._kept(), "; ".join(parts)])

    def _kept(self) -> list[str]:
        """Return what a file of an inversion holds, in words, if one was written."""
        sizes = [output["file_size"] for output in self.outputs if "file_size" in output]
        kept = (
            "what edits need" if self.inversion.for_edits else "the noise alone, with which edits cannot keep the rest"
        )
        return [f"the inversion has {size:,} bytes: {kept}" for size in sizes]


def settings(inversion: Inversion) -> dict[str, Any]:
    """Return what decided an inversion, as data."""
    config = inversion.config
    low = config.renoising_low_noise
    return {
        "prompt": inversion.prompt,
        "negative_prompt": inversion.negative_prompt,
        # Whether embeddings came in place of the two.
        **{name: name in inversion.text_embeds for name in ("prompt_embeds", "negative_prompt_embeds")},
        "steps": config.num_steps,
        "depth": config.strength,
        "renoise": config.renoising.iterations,
        "renoise_low_noise": config.renoising.iterations if low is None else low.iterations,
        **({} if config.solver is None else {"solver": solver_record(config.solver)}),
        **({} if config.walk is None else {"walk": asdict(config.walk)}),
        "inversion_guidance": config.guidance_scale,
        **{name: getattr(config, name) for name in ("clip_skip", "guidance_rescale", "timesteps", "sigmas")},
        "edit_losses": None if config.edit_losses is None else asdict(config.edit_losses),
        "noise_correction": None if config.noise_correction is None else asdict(config.noise_correction),
        "seed": inversion.seed,
        "fit": inversion.fits[0].mode,
        "size": list(inversion.size),
        "edit_data": inversion.edit_data,
    }


def output(path: Path, prompt: str, image: Image.Image) -> dict[str, Any]:
    """Return an image that was written, as data; its size is (height, width)."""
    return {"path": str(path), "prompt": prompt, "size": [image.height, image.width]}


def residual(inversion: Inversion) -> dict[str, float]:
    """Return how far the steps are from their fixed points: the worst and the mean."""
    return {"max": float(inversion.residuals.max()), "mean": float(inversion.residuals.mean())}


def _in_words(quality: Quality, *, exact: bool) -> str:
    if exact:
        return (
            "edits start from the image itself, as the autoencoder draws it: PSNR "
            f"{decibels(quality.image)} against the image"
        )
    text = f"reconstruction: PSNR {decibels(quality.image)} against the image"
    if quality.round_trip is None or quality.bound is None:
        return text
    return (
        f"{text}, {decibels(quality.round_trip)} against the autoencoder's round trip (which has "
        f"{decibels(quality.bound)})"
    )


def decibels(value: float) -> str:
    """Return a PSNR to read.

    Examples:
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
