"""ReNoise as a method: what it inverts and draws with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from renoise import Editor, InversionConfig, Renoising
from renoise.edit_rules import Changes, PlainSampling
from renoise.evaluation.methods import Drawn, Noised, ReNoise
from renoise.evaluation.outside import NegativePrompt, NullPrompt
from renoise.method_settings import Walk

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


DIRECT = InversionConfig(num_steps=3, walk=Walk(forward=True, direct=True))


def test_a_reconstruction_is_drawn_from_the_noise_alone(make_editor: Callable[..., Editor], z_0: Tensor) -> None:
    """With what the inversion keeps for edits it would be exact; the last step of this sampler adds no noise."""
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    inversion = editor.invert(latents=z_0, prompt=PROMPTS, config=DIRECT)
    assert inversion.for_edits
    drawn = ReNoise(DIRECT).invert(editor, z_0, PROMPTS).draw(None, None)
    assert drawn.passes == 3
    assert torch.equal(drawn.pixels, editor.edit(inversion.alone(), PROMPTS, guidance_scale=1.0, output_type="pt"))
    exact = editor.edit(inversion, PROMPTS, guidance_scale=1.0, output_type="pt")
    assert (drawn.pixels - exact).abs().max() > 1e-3


def test_edits_are_drawn_as_the_row_says(editor: Editor, z_0: Tensor) -> None:
    inversion = editor.invert(latents=z_0, prompt=PROMPTS, config=DIRECT)
    targets = ["a lion", "a fish"]
    for changes in (Changes(), Changes(strength=0.25), Changes(PlainSampling())):
        drawn = ReNoise(DIRECT, edit=changes).invert(editor, z_0, PROMPTS).draw(targets, 1.0)
        options: dict[str, Any] = {"strength": changes.strength, "keep": changes.keep, "rule": changes.own}
        assert torch.equal(
            drawn.pixels, editor.edit(inversion, targets, guidance_scale=1.0, output_type="pt", **options)
        )
        assert drawn.passes == 3


def test_a_direct_walk_does_not_iterate() -> None:
    assert (ReNoise(DIRECT).iterations, ReNoise(replace(DIRECT, walk=None)).iterations) == (0, 9)


def test_an_edit_of_strength_0_takes_no_pass(editor: Editor, z_0: Tensor) -> None:
    noised = ReNoise(DIRECT, edit=Changes(strength=0.0)).invert(editor, z_0, PROMPTS)
    drawn = noised.draw(["a lion", "a fish"], 1.0)
    assert torch.allclose(drawn.pixels, editor.decode(z_0, "pt"), atol=1e-5)


def test_residuals_are_kept_if_they_are_asked_for(editor: Editor, z_0: Tensor) -> None:
    config = InversionConfig(num_steps=2, renoising=Renoising(3))
    with_history = ReNoise(config, keep_residuals=True).invert(editor, z_0, PROMPTS)
    assert with_history.residuals is not None
    assert with_history.residuals.shape == (2, 4, 2)
    assert with_history.timesteps == editor.timesteps(config)
    without = ReNoise(config).invert(editor, z_0, PROMPTS)
    assert (without.residuals, without.timesteps) == (None, ())


# Samplers that keep the variance, and those that count in noise levels.
SAMPLERS: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {}),
    ("LCMScheduler", {}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
]


@pytest.mark.parametrize(("scheduler", "changes"), SAMPLERS, ids=str)
def test_the_scale_is_that_of_the_noise_from_which_diffusers_draws(
    make_editor: Callable[..., Editor], z_0: Tensor, scheduler: str, changes: dict[str, Any]
) -> None:
    editor = make_editor(scheduler=scheduler, **changes)
    own = type(editor.pipe.scheduler).from_config(editor.pipe.scheduler.config)
    own.set_timesteps(4)
    plain = InversionConfig(num_steps=4, renoising=Renoising(0))
    for method in (ReNoise(plain), NullPrompt(plain), NegativePrompt(plain, 1.0)):
        assert method.invert(editor, z_0, PROMPTS).scale == pytest.approx(float(own.init_noise_sigma), rel=3e-3)


def test_passes_of_each_image(z_0: Tensor) -> None:
    def draw(targets: Sequence[str] | None, scale: float | None) -> Drawn:
        raise AssertionError

    assert [Noised(z_0, 5, draw).passes_of(i) for i in range(2)] == [5, 5]
    assert [Noised(z_0, 5, draw, passes_each=(3, 5)).passes_of(i) for i in range(2)] == [3, 5]
