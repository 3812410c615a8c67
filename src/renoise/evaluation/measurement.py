"""One measured image: what was asked, what came out, and all that is needed to measure it again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, SupportsFloat

import msgspec


@dataclass(frozen=True)
class Measurement:
    """One image under one row of a run: a line of `results.jsonl`.

    A number is None where it is not available, and every number is None where the method failed.

    Attributes:
        key: hash of everything that decides the result (`keys.decided`); a known key is not measured again.
        run: the run's name.
        label: the row's label; "method" in the file.
        row: the row's place in the run.
        model, dtype, device: the model's name, the type of its networks, and where they ran.
        data: the data set's absolute path, or its name if it is no path.
        image: the image's name in the data set; "picture" in the file.
        prompt: the source prompt.
        settings: the settings of the method, from which `registry.method_from` makes it again.
        num_inversion_steps, num_steps, iterations: lengths of both schedules, and renoising iterations.
        seed: the seed of the sampler's noises.
        versions: the versions of what computed it.
        l2, psnr, ssim, ms_ssim, lpips: how near the drawn image is to the image.
        psnr_roundtrip, psnr_bound: how near the drawn image is to the autoencoder's round trip of the image, and how
            near the round trip is to the image; no reconstruction can be expected to exceed this bound.
        passes_inversion, passes_denoising: network passes for this image.
        seconds: time of inversion and denoising together: the batch's, divided by its images.
        deviation: standard deviation of z_T in the sampler's scale.
        noise_mean, noise_deviation, noise_whiteness, noise_kl: how far z_T looks like white noise, in the scale in
            which white noise has a deviation of 1 (`noise_statistics`).
        residual_history: residual of every pass of each step, the noisiest step first; None unless the run keeps it.
        timesteps: timesteps of the steps, where there is a residual history.
        error: why the method gave no image; None where it gave one.
        target: the prompt of an edit; None for a reconstruction. For an edit, everything above is about the edit, and
            `l2` to `lpips` tell how much it changed at all.
        edit_type: what sort of edit it is, such as "add object", where the data says it; "kind" in the file.
        guidance: the edit's guidance scale; None is the method's own.
        background: the share of the image outside the mask, which the edit should keep; None without a mask. Where
            the true result is known, the mask is where that differs from the image.
        mse_background, psnr_background, ssim_background, lpips_background: how near the edit is to the image there;
            None also where the mask leaves no background.
        structure_distance: how far the edit's structure is from the image's (`judges.Dino`).
        clip_whole, clip_edited: how well the edit, and what the mask shows of it, fit its prompt (`judges.Clip`).
        changed: 1 if the edit shows what was asked for, else 0; None where the true result is not known
            (`true_results`). So it is with the three that follow.
        kept: 1 if the border has kept its colour, else 0; None also for an edit of that colour.
        psnr_target: PSNR against the true result, in dB.
        psnr_target_unedited: PSNR of the unedited image against the true result, in dB.
        index: the image's place in its data set; None in lines that are older than this field.
        model_hash: hash of the model's fingerprint.
        scheduler: the model's own sampler (`schedulers.describe`), even if the method exchanges it.
        series: the name of the line to which the row belongs in plots against network passes; None is the row's own.
        image_hash: hash of the fitted image's pixels, and of its mask and its true results if it is edited; empty for
            an image that could not be read; "picture_hash" in the file.
    """

    key: str
    run: str
    label: str
    row: int
    model: str
    dtype: str
    device: str
    data: str
    image: str
    prompt: str
    settings: Mapping[str, Any]
    num_inversion_steps: int
    num_steps: int
    iterations: int
    seed: int
    versions: Mapping[str, str]
    l2: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None
    lpips: float | None = None
    psnr_roundtrip: float | None = None
    psnr_bound: float | None = None
    passes_inversion: int | None = None
    passes_denoising: int | None = None
    seconds: float | None = None
    deviation: float | None = None
    residual_history: tuple[tuple[float, ...], ...] | None = None
    timesteps: tuple[float, ...] = ()
    error: str | None = None
    target: str | None = None
    edit_type: str | None = None
    # A whole number stays one, because the key is a hash of what is written.
    guidance: int | float | None = None
    background: float | None = None
    mse_background: float | None = None
    psnr_background: float | None = None
    ssim_background: float | None = None
    lpips_background: float | None = None
    structure_distance: float | None = None
    clip_whole: float | None = None
    clip_edited: float | None = None
    index: int | None = None
    model_hash: str = ""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    image_hash: str = ""
    series: str | None = None
    noise_mean: float | None = None
    noise_deviation: float | None = None
    noise_whiteness: float | None = None
    noise_kl: float | None = None
    changed: float | None = None
    kept: float | None = None
    psnr_target: float | None = None
    psnr_target_unedited: float | None = None

    def as_line(self) -> str:
        """Return the measurement as one line of JSON."""
        return json.dumps({_IN_FILE.get(name, name): value for name, value in asdict(self).items()}, allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> Measurement:
        """Read a line that `as_line` wrote, in this version or an earlier one.

        Raises:
            ValueError, RecursionError: if it is no such line.
        """
        record = msgspec.json.decode(line, type=dict[str, Any])
        return msgspec.convert({_IN_PYTHON.get(name, name): value for name, value in record.items()}, cls)


# The file's names for fields that Python calls otherwise.
_IN_FILE = {"label": "method", "image": "picture", "image_hash": "picture_hash", "edit_type": "kind"}
_IN_PYTHON = {theirs: ours for ours, theirs in _IN_FILE.items()}


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a short hash of facts that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def finite(value: SupportsFloat | None) -> float | None:
    """Return a number for JSON, which has neither infinity nor NaN: None stands for both, and for a missing one."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
