"""A made-up solver and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from renoise import Editor, Inversion, InversionConfig
from renoise.solvers import SOLVERS, Problem, Solution


@dataclass(frozen=True)
class Damped:
    """Moves a share of the way to the next estimate, until the residual of every image is small."""

    tolerance: float = 1e-3
    share: float = 0.5
    max_passes: int = 40

    def solve(self, problem: Problem) -> Solution:
        z, tried = problem.z_prev, problem.evaluate(problem.z_prev)
        residuals = [tried.residual]
        while (far := tried.residual > self.tolerance).any() and len(residuals) < self.max_passes:
            # An image that is solved for stays where it is, so that no image depends on its neighbours.
            z = torch.where(far.view(-1, 1, 1, 1), z + self.share * (tried.value - z), z)
            tried = problem.evaluate(z)
            residuals.append(tried.residual)
        return Solution(tried.value, torch.stack(residuals), problem.passes, tried.residual <= self.tolerance)


def test_a_new_solver_stops_early_and_is_saved(
    editor: Editor, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "damped", Damped)
    config, ran = InversionConfig(num_steps=10, solver=Damped()), list[None]()
    hook = editor.pipe.unet.register_forward_hook(lambda *_: ran.append(None))
    inversion = editor.invert(picture, "a cat", config=config, keep_residual_history=True)
    hook.remove()
    assert inversion.residual_history is not None
    passes = (~inversion.residual_history[:, :, 0].isnan()).sum(dim=1)
    assert inversion.network_passes == len(ran) == int(passes.sum()) < 10 * Damped().max_passes
    assert bool(((inversion.residuals[:, 0] <= Damped().tolerance) | (passes == Damped().max_passes)).all())

    inversion.save(tmp_path / "cat.safetensors")
    loaded = Inversion.load(tmp_path / "cat.safetensors")
    assert loaded.config == config
    assert torch.equal(editor.reconstruct(loaded, "latent"), editor.reconstruct(inversion, "latent"))
