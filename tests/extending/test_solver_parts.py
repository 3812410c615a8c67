"""A made-up start of an iteration and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from renoise import Editor, Inversion, InversionConfig
from renoise.solvers import SOLVERS, FixedPoint, NoisedImage, Persistent, Problem, Residual


@dataclass(frozen=True)
class SameNoise:
    """Starts where the image and the noise that the last prediction implied lead at the new level."""

    def start(self, problem: Problem) -> Tensor:
        known = problem.known
        if known is None or not known.accepted:  # the first step
            return problem.z_prev
        last = known.accepted[0]
        noise = last.step.implied_noise(problem.z_prev, last.prediction)
        return problem.step.add_noise(known.image, noise)


def test_a_new_start_is_part_of_a_solver_and_is_saved(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "mine.same_noise", SameNoise)
    ours, theirs = (FixedPoint(start, stop=Residual(1e-4, 8)) for start in (SameNoise(), NoisedImage()))
    config, z_0 = InversionConfig(num_steps=20, solver=Persistent(ours)), torch.linspace(-1.0, 1.0, 256)
    latents = torch.sin(9.0 * z_0).view(1, 4, 8, 8)
    inversion = editor.invert(latents=latents, prompt="a cat", config=config)
    other = editor.invert(latents=latents, prompt="a cat", config=replace(config, solver=Persistent(theirs)))
    assert inversion.converged.all()
    torch.testing.assert_close(inversion.latents, other.latents, rtol=0.05, atol=0.05)  # the same fixed points

    inversion.save(tmp_path / "cat.safetensors")
    assert Inversion.load(tmp_path / "cat.safetensors").config == config
