"""One measured image: what was asked, what came out, and all that is needed to measure it again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from renoise.errors import StorageError, reason
from renoise.files import write_atomically


@dataclass(frozen=True)
class Measurement:
    """One image under one row of a run: a line of `results.jsonl`.

    Attributes:
        key: hash of everything that decides the result (`keys.decided`); what has a known key is not measured again.
        run: the run's name.
        method: the row's label.
        row: the row's place in the run.
        model, dtype, device: the model as it was named, its networks' type, and where they ran.
        data, image: the data set (its absolute path, or its name where it is no path), and the image's name in it.
        prompt: the source prompt.
        settings: of the method (`registry.method_from` makes it again).
        num_inversion_steps, num_steps, iterations: lengths of both schedules, and renoising iterations.
        seed: of the sampler's noises.
        versions: of what computed it.
        l2, psnr, ssim, ms_ssim, lpips: of the reconstruction against the image; None is "not available", and all of
            them are None where the method failed.
        psnr_roundtrip: of the reconstruction against the autoencoder's own round trip.
        psnr_bound: of the round trip against the image, which no reconstruction can be expected to exceed.
        passes_inversion, passes_denoising: network passes for this image.
        seconds: for inversion and denoising together, the batch's time divided by its images.
        deviation: standard deviation of z_T.
        residual_history: of every pass of each step, the noisiest first; None unless the run asks for it.
        timesteps: of the steps, where there is a residual history.
        error: why the method gave no image; None where it did.
        target: the prompt of an edit. None is the reconstruction; otherwise everything that is said of it above is said
            of the edit, and `l2` to `lpips` tell how much the edit changed at all.
        kind: the type of the edit, where the data tells.
        guidance: the edit's guidance scale; None is the method's own.
        background: the share of the image outside the mask, which the edit was to keep; None where there is no mask.
        mse_background, psnr_background, ssim_background, lpips_background: of the edit against the image there; None
            also where the mask leaves no background.
        structure_distance: of the edit from the image (`judges.Dino`).
        clip_whole, clip_edited: how well the edit fits its prompt, as a whole and what its mask shows (`judges.Clip`).
        index: the image's place in its data set; None in lines of before it was kept.
        model_hash: of the model's fingerprint.
        scheduler: the model's own sampler (`schedulers.describe`), whether or not the method exchanges it.
        picture_hash: of the fitted image's pixels, and of its mask where it is edited; empty where it could not be
            read.
    """

    key: str
    run: str
    method: str
    row: int
    model: str
    dtype: str
    device: str
    data: str
    picture: str
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
    timesteps: tuple[float, ...] = field(default=())
    error: str | None = None
    target: str | None = None
    kind: str | None = None
    guidance: float | None = None
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
    picture_hash: str = ""

    def as_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> Measurement:
        """What `as_line` wrote, by this version or an earlier one.

        Raises:
            ValueError, TypeError: if it is no such line.
        """
        record = json.loads(line, parse_constant=_refuse)
        if not isinstance(record, dict):
            raise TypeError(f"a measurement is an object, not {type(record).__name__}")
        values = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        for f in fields(cls):
            kinds = _KINDS.get(str(f.type))
            # Exactly: True is an int as well.
            if kinds is not None and f.name in values and type(values[f.name]) not in kinds:
                raise TypeError(f"{f.name} must be {f.type}, not {values[f.name]!r}")
        history = values.get("residual_history")
        if history is not None:
            values["residual_history"] = tuple(_numbers(step) for step in history)
        values["timesteps"] = _numbers(values.get("timesteps", ()))
        return cls(**values)


# What a line may hold in a field of each type.
_KINDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "str": (str,),
        "str | None": (str, type(None)),
        "int": (int,),
        "int | None": (int, type(None)),
        "float | None": (float, int, type(None)),
        "Mapping[str, Any]": (dict,),
        "Mapping[str, str]": (dict,),
    }
)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    found = tuple(values)
    if any(type(value) not in (float, int) for value in found):
        raise TypeError(f"expected numbers, not {found!r}")
    return found


def key_of(facts: Mapping[str, Any]) -> str:
    """A short hash of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


class Results:
    """The file `results.jsonl`: what was measured, line by line.

    Lines are only ever appended, and the last one with a key counts. A last line that was cut short, by a full disk or
    a machine that went down, is left out, and taken away before the next line is written.

    Args:
        path: the file; it need not be there yet.

    Raises:
        StorageError: if it cannot be read as results.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, Measurement] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {reason(error)}; name another folder") from error
        for number, line in enumerate(_whole(data).split(b"\n")[:-1], start=1):
            try:
                measurement = Measurement.from_line(line)
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                raise StorageError(
                    f"line {number} of {self.path} is no result of renoise evaluate; remove the line, or name another "
                    "folder"
                ) from error
            self._lines[measurement.key] = measurement

    def done(self, key: str) -> bool:
        """Whether this was measured, and did not fail."""
        return key in self._lines and self._lines[key].error is None

    def get(self, keys: Iterable[str]) -> list[Measurement]:
        """The measurements with these keys, in this order; those that are missing are left out."""
        return [self._lines[key] for key in keys if key in self._lines]

    def all(self) -> list[Measurement]:
        """All measurements in the order in which they were made."""
        return list(self._lines.values())

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Take note of measurements, and write those that the file does not have as they are.

        Raises:
            StorageError: if they cannot be written.
        """
        lines = {m.key: m.as_line() for m in measurements}
        lines = {key: line for key, line in lines.items() if all(line != m.as_line() for m in self.get([key]))}
        if not lines:
            return
        try:
            self._mend()
            with self.path.open("ab") as file:
                file.write("".join(f"{line}\n" for line in lines.values()).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {reason(error)}; free space or name another folder"
            ) from error
        # As they are read again, so that a run that goes on says what one in a single go does.
        self._lines |= {key: Measurement.from_line(line) for key, line in lines.items()}

    def _mend(self) -> None:
        """End the file with a whole line.

        Raises:
            OSError: if that cannot be done.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) == b"\n":
                return
        write_atomically(self.path, _whole(self.path.read_bytes()))


def _whole(data: bytes) -> bytes:
    """The lines of a file without a last one that was cut short, the last one ended as well."""
    lines, last = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
    if not last:
        return data
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return lines
    return data + b"\n"


def finite(value: float) -> float | None:
    """A number for JSON, which knows neither infinity nor NaN."""
    return float(value) if math.isfinite(value) else None
