"""One measured picture: what was asked, what came out, and all that is needed to measure it again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from renoise.errors import StorageError, reason
from renoise.files import write_atomically


@dataclass(frozen=True)
class Measurement:
    """One picture under one row of a run: a line of `results.jsonl`.

    Attributes:
        key: hash of everything that decides the result; a row with a known key is not measured again.
        run: the run's name.
        method: the row's label.
        row: the row's place in the run.
        model, dtype, device: the model as it was named, its networks' type, and where they ran.
        data, picture: the data set as it was named, and the picture's name in it.
        prompt: the source prompt.
        settings: of the method (`registry.method_from` makes it again).
        num_inversion_steps, num_steps, iterations: lengths of both schedules, and renoising iterations.
        seed: of the sampler's noises.
        versions: of what computed it.
        l2, psnr, ssim, ms_ssim, lpips: of the reconstruction against the picture; None is "not available", and all of
            them are None where the method failed.
        psnr_roundtrip: of the reconstruction against the autoencoder's own round trip.
        psnr_bound: of the round trip against the picture, which no reconstruction can be expected to exceed.
        passes_inversion, passes_denoising: network passes for this picture.
        seconds: for inversion and denoising together, the batch's time divided by its pictures.
        deviation: standard deviation of z_T.
        residual_history: of every pass of each step, the noisiest first; None unless the run asks for it.
        timesteps: of the steps, where there is a residual history.
        error: why the method gave no picture; None where it did.
        target: the prompt of an edit. None is the reconstruction; otherwise everything that is said of it above is said
            of the edit, and `l2` to `lpips` tell how much the edit changed at all.
        kind: the type of the edit, where the data tells.
        guidance: the edit's guidance scale; None is the method's own.
        background: the share of the picture outside the mask, which the edit was to keep; None where there is no mask.
        mse_background, psnr_background, ssim_background, lpips_background: of the edit against the picture there; None
            also where the mask leaves no background.
        structure_distance: of the edit from the picture (`judges.Dino`).
        clip_whole, clip_edited: how well the edit fits its prompt, as a whole and what its mask shows (`judges.Clip`).
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

    def as_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Measurement:
        """What `as_line` wrote.

        Raises:
            ValueError, TypeError, KeyError: if it is no such line.
        """
        record = json.loads(line)
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        history = values.get("residual_history")
        if history is not None:
            values["residual_history"] = tuple(tuple(step) for step in history)
        values["timesteps"] = tuple(values.get("timesteps", ()))
        return cls(**values)


def key_of(facts: Mapping[str, Any]) -> str:
    """A short hash of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


class Results:
    """The file `results.jsonl`: what was measured, line by line, always whole on disk.

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
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"cannot read {self.path}: {reason(error)}; name another folder") from error
        for number, line in enumerate(lines, start=1):
            try:
                measurement = Measurement.from_line(line)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise StorageError(
                    f"line {number} of {self.path} is no result of renoise evaluate; remove the line, or name another "
                    "folder"
                ) from error
            self._lines[measurement.key] = measurement

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def get(self, keys: Iterable[str]) -> list[Measurement]:
        """The measurements with these keys, in this order; those that are missing are left out."""
        return [self._lines[key] for key in keys if key in self._lines]

    def all(self) -> list[Measurement]:
        """All measurements in the order in which they were made."""
        return list(self._lines.values())

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Take note of measurements, and write the file.

        Raises:
            StorageError: if it cannot be written.
        """
        self._lines |= {m.key: m for m in measurements}
        text = "".join(f"{m.as_line()}\n" for m in self._lines.values())
        try:
            write_atomically(self.path, text.encode())
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {reason(error)}; free space or name another folder"
            ) from error


def finite(value: float) -> float | None:
    """A number for JSON, which knows neither infinity nor NaN."""
    return float(value) if math.isfinite(value) else None
