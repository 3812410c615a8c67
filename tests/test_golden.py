"""Agreement with what the published implementation computes (tests/data/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from renoise import Editor, InversionConfig, NoiseCorrection, Renoising

DATA = Path(__file__).parent / "data"
CASES: dict[str, dict[str, Any]] = json.loads((DATA / "vectors" / "cases.json").read_text())


def renoising(case: dict[str, Any]) -> Renoising:
    return Renoising(case["iterations"], average=None if case["average"] is None else tuple(case["average"]))


@pytest.mark.parametrize("name", CASES)
def test_golden_case(name: str, make_editor: Callable[..., Editor]) -> None:
    case, vectors = CASES[name], load_file(DATA / "vectors" / f"{name}.safetensors")
    inversion = make_editor(case["model"], case["scheduler"]).invert(
        latents=vectors["z0"],
        prompt=case["prompt"],
        noise=vectors["noise"][:, None] if "noise" in vectors else None,
        config=InversionConfig(
            num_steps=case["num_steps"],
            guidance_scale=case["guidance_scale"],
            renoising=renoising(case["renoising"]),
            renoising_low_noise=renoising(case["renoising_low_noise"]),
            low_noise_below=case["renoising_low_noise"]["below_timestep"],
            noise_correction=NoiseCorrection.released() if case["noise_correction"] else None,
        ),
        keep_trajectory=True,
    )
    assert inversion.trajectory is not None
    ours, theirs = inversion.trajectory[:, 0], vectors["trajectory"]
    assert ours.shape == theirs.shape
    assert float((ours - theirs).norm() / theirs.norm()) < case["tolerance_relative_l2"]
    if "noise_corrected" in vectors:
        assert inversion.noise is not None
        ours, theirs = inversion.noise[:, 0], vectors["noise_corrected"]
        assert float((ours - theirs).norm() / theirs.norm()) < case["tolerance_relative_l2"]
    assert inversion.network_passes <= case["network_passes"]
