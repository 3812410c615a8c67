"""Made-up measurements of every run, so that tables, plots and reports are tested without a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from renoise.config import InversionConfig, Renoising
from renoise.evaluation.keys import keyed
from renoise.evaluation.measurement import Measurement, key_of
from renoise.evaluation.runs import RUNS

# Presets of this project, as a model may have them beside the paper's.
PRESETS = {
    "fast": InversionConfig(num_steps=4, renoising=Renoising(3)),
    "exact": InversionConfig(num_steps=4, renoising=Renoising(11)),
}


@pytest.fixture
def make_measurement() -> Callable[..., Measurement]:
    """A measurement of one image that went well, with whatever is asked for in place of its own values."""
    return _measurement


@pytest.fixture
def make_failure() -> Callable[..., Measurement]:
    """A measurement of a method that gave no image."""
    return _failure


@pytest.fixture
def make_row() -> Callable[..., list[Measurement]]:
    """One method on as many images as there are numbers of PSNR."""

    def make(*psnr: float, **changes: Any) -> list[Measurement]:
        return [_measurement(image=f"{i:02d}.png", psnr=value, **changes) for i, value in enumerate(psnr)]

    return make


@pytest.fixture
def make_run() -> Callable[..., list[Measurement]]:
    """All rows of a run on some images, row by row, with numbers that differ from each other."""
    return _run


def _measurement(**changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "key": "",
        "run": "table2",
        "label": "sampler reversing",
        "row": 0,
        "model": "mini",
        "dtype": "float32",
        "device": "cpu",
        "data": "mini-heldout",
        "image": "00-lion.png",
        "prompt": "a lion",
        "settings": {},
        "num_inversion_steps": 4,
        "num_steps": 4,
        "iterations": 0,
        "seed": 7,
        "versions": {"renoise": "0.1.0", "torch": "2.13.0"},
        "l2": 0.001,
        "psnr": 30.0,
        "ssim": 0.9,
        "psnr_roundtrip": 40.0,
        "psnr_bound": 31.0,
        "passes_inversion": 4,
        "passes_denoising": 4,
        "seconds": 1.5,
        "deviation": 1.0,
        "noise_mean": 0.0,
        "noise_deviation": 1.1,
        "noise_whiteness": 1.2,
        "noise_kl": 0.01,
    }
    m = Measurement(**{**values, **changes})
    m = replace(m, image_hash=m.image_hash or key_of({"pixels of": m.image}))
    return m if m.key else keyed(m)


def _failure(**changes: Any) -> Measurement:
    nothing = dict.fromkeys(
        ("l2", "psnr", "ssim", "psnr_roundtrip", "psnr_bound", "passes_inversion", "passes_denoising", "seconds")
    )
    nothing |= dict.fromkeys(("noise_mean", "noise_deviation", "noise_whiteness", "noise_kl"))
    return _measurement(**{**nothing, "deviation": None, "error": "NaN in the latent", **changes})


def _run(run: str, images: int = 3, steps: int = 4) -> list[Measurement]:
    measured = []
    own = {"paper": InversionConfig(num_steps=steps), **PRESETS}
    for place, row in enumerate(RUNS[run].rows(own)):
        passes = row.method.num_inversion_steps * (row.method.iterations + 1)
        history = tuple(
            tuple(0.3 * math.exp(-(0.2 + 0.1 * step / steps) * k) for k in range(13)) for step in range(steps)
        )
        for i in range(images):
            measured.append(
                _measurement(
                    run=run,
                    label=row.label,
                    row=place,
                    image=f"{i:02d}.png",
                    settings=row.method.settings(),
                    num_inversion_steps=row.method.num_inversion_steps,
                    num_steps=row.method.num_denoising_steps,
                    iterations=row.method.iterations,
                    psnr=24.0 + 0.5 * i + 0.01 * place,
                    psnr_roundtrip=30.0 + i + 0.01 * place,
                    psnr_bound=31.0 + i,
                    passes_inversion=passes,
                    series=row.series,
                    noise_mean=0.006 - 0.0025 * place,
                    noise_deviation=0.8 + 0.1 * place,
                    noise_kl=0.01 * (place + 1),
                    passes_denoising=row.method.num_denoising_steps,
                    residual_history=history if run == "figure7" else None,
                    timesteps=tuple(999.0 - 10.0 * step for step in range(steps)) if run == "figure7" else (),
                )
            )
    return measured
