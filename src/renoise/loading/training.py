"""What a single file says about how its model was trained: marks among its tensors, and the metadata in its header.

The marks are those that public tools write and read (ComfyUI, AUTOMATIC1111's web UI, Playground); the metadata is that
of the Stability model specification (`modelspec.*`) and of kohya's scripts (`ss_*`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.networks import Shapes

# Tensors that tell by being there, and those that hold numbers.
_VELOCITY, _ZERO_SNR = ("v_pred",), ("ztsnr", "zsnr")
_MEAN, _DEVIATION = "edm_mean", "edm_std"
_VELOCITY_MAX, _VELOCITY_MIN = "edm_vpred.sigma_max", "edm_vpred.sigma_min"
# A mark is small: more numbers than these are none.
_MOST_NUMBERS = 1024
# What metadata calls the kinds of prediction, by diffusers' names.
_PREDICTIONS = {
    "epsilon": ("epsilon", "eps", "noise"),
    "v_prediction": ("v", "v_prediction", "v-prediction", "v_pred", "vpred", "velocity"),
    "sample": ("sample", "x0"),
}
_FLOW = ("flow", "rf", "rectified_flow", "rectified-flow", "flow_matching")
_PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key", "prediction_type")
_VELOCITY_KEYS = ("ss_v_parameterization", "v_pred", "v_parameterization")
_ZERO_SNR_KEYS = ("ss_zero_terminal_snr", "ztsnr", "zero_terminal_snr")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "none", "")
# Names that the specification and kohya's scripts give architectures which differ by what they predict.
_ARCHITECTURES = {
    "stable-diffusion-v2-768-v": "v_prediction",
    "sd_v2_768_v": "v_prediction",
    "stable-diffusion-v2-512": "epsilon",
    "sd_v2": "epsilon",
}
_ARCHITECTURE_KEYS = ("modelspec.architecture", "ss_base_model_version")
_TITLE_KEYS = ("modelspec.title", "ss_output_name")
# Words in titles and names of models that draw in a few steps.
_FEW_STEPS = re.compile(r"(?<![a-z])(turbo|lightning|hyper|lcm|tcd|dmd2?)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Training:
    """How a file says that its model was trained; None where it says nothing.

    Attributes:
        prediction: what the network predicts, by diffusers' name: "epsilon", "v_prediction" or "sample".
        zero_snr: whether its noise levels end in noise alone.
        mean: of its latents in each channel, if they are standardised (Playground 2.5).
        deviation: of its latents in each channel.
        sigmas: the least and the greatest noise level of a model in the formulation of Karras et al. (EDM).
        data_deviation: the deviation of the latents that this formulation takes.
        resolution: (height, width) of its images in pixels.
        few_steps: the word of its title, or of the file's name, that belongs to models of a few steps.
        read: what in the file says so.
        doubts: sentences about what in the file makes no sense, and is not followed.
    """

    prediction: str | None = None
    zero_snr: bool | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    sigmas: tuple[float, float] | None = None
    data_deviation: float = 0.5
    resolution: tuple[int, int] | None = None
    few_steps: str | None = None
    read: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def titles_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a file's metadata calls its model.

    Examples:
        >>> titles_in({"modelspec.title": "Dreams", "ss_output_name": ""})
        ('Dreams',)
    """
    told = {key.strip().lower(): value.strip() for key, value in metadata.items()}
    return tuple(told[key] for key in _TITLE_KEYS if told.get(key))


def training_of(path: Path, shapes: Shapes, metadata: Mapping[str, str]) -> Training:
    """Read what a single file says about the training of its model.

    Args:
        path: the file.
        shapes: the shapes of its tensors, by name.
        metadata: the metadata in its header.

    Raises:
        ModelError: if a mark's numbers make no sense.
    """
    velocity, zero = _found(_VELOCITY, shapes), _found(_ZERO_SNR, shapes)
    entries = _Entries(path, metadata)
    # Marks come first: programs that merge models carry them over, and leave the metadata as it was.
    told = dict.fromkeys(velocity, "v_prediction") | entries.predictions()
    if len(set(told.values())) > 1:
        entries.doubts.append(
            f"it contradicts itself ({', '.join(f'{name} says {value}' for name, value in told.items())}), and "
            f"{next(iter(told))} is believed"
        )
    prediction = next(iter(told.values()), None)
    zero_told = dict.fromkeys(zero, True) | entries.zero_snr()
    read = [*told, *zero_told]
    common: dict[str, Any] = {
        "resolution": entries.resolution(),
        "few_steps": entries.few_steps(),
        "doubts": tuple(entries.doubts),
    }
    if common["resolution"] is not None:
        read.append("modelspec.resolution")
    if _MEAN in shapes and _DEVIATION in shapes:
        mean, deviation = (_numbers(path, name, shapes) for name in (_MEAN, _DEVIATION))
        if len(mean) != len(deviation) or min(deviation) <= 0:
            raise ModelError(f"{path}: {_MEAN} and {_DEVIATION} are no mean and deviation", argument="model")
        sigmas = (0.002, 80.0)  # Playground's own
        return Training(
            prediction or "epsilon", None, mean, deviation, sigmas, read=(*read, _MEAN, _DEVIATION), **common
        )
    if _VELOCITY_MAX in shapes:
        names = [name for name in (_VELOCITY_MIN, _VELOCITY_MAX) if name in shapes]
        limits = {name: _numbers(path, name, shapes)[0] for name in names}
        least, most = limits.get(_VELOCITY_MIN, 0.002), limits[_VELOCITY_MAX]
        if not 0 < least < most:
            raise ModelError(f"{path}: its noise levels from {least:g} to {most:g} make no sense", argument="model")
        return Training("v_prediction", None, sigmas=(least, most), data_deviation=1.0, read=(*read, *names), **common)
    zero_snr = any(zero_told.values()) if zero_told else None
    return Training(prediction, zero_snr, read=tuple(read), **common)


def _found(names: tuple[str, ...], shapes: Shapes) -> list[str]:
    return [name for name in names if name in shapes]


def _numbers(path: Path, name: str, shapes: Shapes) -> tuple[float, ...]:
    """Return the numbers of a mark."""
    from safetensors import safe_open

    if not 0 < math.prod(shapes[name]) <= _MOST_NUMBERS:
        raise ModelError(f"{path}: the tensor {name} must hold a few numbers, not {shapes[name]}", argument="model")
    with safe_open(path, framework="pt") as file:
        numbers = tuple(map(float, file.get_tensor(name).flatten().double().tolist()))
    if not all(map(math.isfinite, numbers)):
        raise ModelError(f"{path}: the tensor {name} holds NaN or infinity", argument="model")
    return numbers


class _Entries:
    """The metadata in a file's header."""

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._path = path
        self.doubts: list[str] = []
        self._metadata = {key.strip().lower(): value.strip() for key, value in metadata.items()}

    def predictions(self) -> dict[str, str]:
        """Return what the model predicts, by the entry that says so."""
        told = {}
        for key in _PREDICTION_KEYS:
            value = self._metadata.get(key, "").lower()
            known = next((name for name, words in _PREDICTIONS.items() if value in words), None)
            if known is not None:
                told[key] = known
            elif value in _FLOW:
                told[key] = "flow"
            elif value:
                self.doubts.append(f"{key} is {shown(value, 60)!r}, which is no kind of prediction that is known")
        told |= {key: "v_prediction" for key in _VELOCITY_KEYS if self._is(key)}
        if not told:
            for key in _ARCHITECTURE_KEYS:
                value = self._metadata.get(key, "").lower()
                if value in _ARCHITECTURES:
                    told[key] = _ARCHITECTURES[value]
        return told

    def zero_snr(self) -> dict[str, bool]:
        """Return whether the noise levels end in noise alone, by the entry that says so."""
        return {key: self._is(key) for key in _ZERO_SNR_KEYS if key in self._metadata}

    def resolution(self) -> tuple[int, int] | None:
        """Return (height, width) in pixels."""
        found = re.fullmatch(r"(\d{2,5})\s*x\s*(\d{2,5})", self._metadata.get("modelspec.resolution", "").lower())
        return None if found is None else (int(found[2]), int(found[1]))

    def few_steps(self) -> str | None:
        """Return the word that tells a model of a few steps, of its title or of its file's name."""
        titles = (*titles_in(self._metadata), self._path.stem)
        found = next(filter(None, map(_FEW_STEPS.search, titles)), None)
        return None if found is None else found[0]

    def _is(self, key: str) -> bool:
        value = self._metadata.get(key, "").lower()
        if value not in (*_TRUE, *_FALSE):
            self.doubts.append(f"{key} must be true or false, not {shown(value, 60)!r}")
        return value in _TRUE
