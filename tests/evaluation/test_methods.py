"""ReNoise as a method: what it inverts and draws with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from renoise import Editor, InversionConfig, Renoising
from renoise.evaluation.methods import ReNoise

PROMPTS = ["a cat", "a dog"]


@pytest.fixture
def z_0() -> Tensor:
    return 0.5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_reconstruction_is_guided_as_the_inversion_was(
    editor: Editor, z_0: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    real = Editor.edit

    def edit(self: Editor, *args: Any, **options: Any) -> Any:
        asked.append(options)
        return real(self, *args, **options)

    monkeypatch.setattr(Editor, "edit", edit)
    method = ReNoise(InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0), num_steps=3)
    noised = method.invert(editor, z_0, PROMPTS)
    assert noised.draw(None, None).passes == 6
    assert noised.draw(["a lion", "a fish"], 1.0).passes == 3
    assert [options["guidance_scale"] for options in asked] == [2.0, 1.0]
    assert noised.passes == 8


def test_residuals_are_kept_if_they_are_asked_for(editor: Editor, z_0: Tensor) -> None:
    config = InversionConfig(num_steps=2, renoising=Renoising(3))
    with_history = ReNoise(config, keep_residuals=True).invert(editor, z_0, PROMPTS)
    assert with_history.residuals is not None
    assert with_history.residuals.shape == (2, 4, 2)
    assert with_history.timesteps == editor.timesteps(config)
    without = ReNoise(config).invert(editor, z_0, PROMPTS)
    assert (without.residuals, without.timesteps) == (None, ())
