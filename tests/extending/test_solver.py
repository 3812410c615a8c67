"""A made-up solver and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from renoise import Editor, Inversion, InversionConfig
from renoise.solvers import SOLVERS, Problem, Solution


@dataclass(frozen=True)
class Cautious:
    """Moves a share of the way to the next estimate, until the residual of each image is small."""

    tolerance: float = 1e-3
    share: float = 0.5
    max_passes: int = 40

    def solve(self, problem: Problem) -> Solution:
        z, rows = problem.z_prev.clone(), list(range(len(problem.z_prev)))
        reached, residuals = z.new_full((len(z),), torch.nan), list[torch.Tensor]()
        while rows and len(residuals) < self.max_passes:
            # An image that is solved for takes no further pass, and no image depends on its neighbours.
            tried = problem.evaluate(z[rows], rows)
            reached[rows] = tried.residual
            residuals.append(torch.full_like(reached, torch.nan))
            residuals[-1][rows] = tried.residual
            z[rows] = z[rows] + self.share * (tried.value - z[rows])
            rows = [row for row in rows if reached[row] > self.tolerance]
        return Solution(z, torch.stack(residuals), problem.passes, reached <= self.tolerance, reached)


def test_a_new_solver_stops_early_and_is_saved(editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "mine.cautious", Cautious)
    config, ran = InversionConfig(num_steps=6, solver=Cautious()), list[int]()
    hook = editor.pipe.unet.register_forward_hook(lambda _, args, output: ran.append(len(args[0])))
    latents = torch.sin(torch.linspace(-9.0, 9.0, 512)).view(2, 4, 8, 8)
    inversion = editor.invert(latents=latents, prompt="a cat", config=config, keep_residual_history=True)
    hook.remove()
    assert inversion.residual_history is not None
    passes = (~inversion.residual_history.isnan()).sum(dim=1)
    assert inversion.passes.tolist() == passes.sum(dim=0).tolist()
    assert sum(ran) == int(passes.sum()) < 2 * 6 * Cautious().max_passes
    assert bool(((inversion.residuals <= Cautious().tolerance) | (passes == Cautious().max_passes)).all())

    inversion.save(tmp_path / "cat.safetensors")
    loaded = Inversion.load(tmp_path / "cat.safetensors")
    assert loaded.config == config
    assert torch.equal(editor.reconstruct(loaded, "latent")[0], editor.reconstruct(inversion, "latent")[0])
