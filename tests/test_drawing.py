"""One edit of an inversion: schedules of other lengths, and noises that it holds or lacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from renoise import Editor, InversionConfig, Progress, RenoiseWarning, Renoising
from renoise.edit_rules import PlainSampling
from renoise.errors import DrawnNoiseWarning, OtherStepsWarning

MakeEditor = Callable[..., Editor]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.fixture
def z_0() -> torch.Tensor:
    """Latents of the size that an autoencoder makes of images."""
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def test_deterministic_samplers_can_denoise_in_another_number_of_steps(editor: Editor, z_0: torch.Tensor) -> None:
    config = InversionConfig(num_steps=40, strength=0.5, renoising=Renoising(5))
    inversion = editor.invert(latents=z_0, prompt="a lion", config=config)
    passes: list[Progress] = []
    fewer = editor.edit(
        inversion, "a lion", guidance_scale=1.0, num_steps=20, output_type="latent", progress=passes.append
    )
    assert passes[-1].total == len(passes) == 10
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < relative(fewer, z_0) < 0.3


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_unequal_steps_start_where_the_inversion_ended(
    make_editor: MakeEditor, z_0: torch.Tensor, scheduler: str
) -> None:
    # leading spacing: schedules of different lengths have different noisiest timesteps
    editor = make_editor(scheduler=scheduler)
    config = InversionConfig(num_steps=20, strength=0.3, renoising=Renoising(8))
    inversion = editor.invert(latents=z_0, prompt="a lion", config=config)
    for num_steps in (7, 13, 33):
        other = editor.edit(inversion, "a lion", guidance_scale=1.0, num_steps=num_steps, output_type="latent")
        assert relative(other, z_0) < 0.1, num_steps


@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "LCMScheduler", "DDPMScheduler"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 8])
def test_stochastic_samplers_draw_the_noises_that_are_missing(
    make_editor: MakeEditor, z_0: torch.Tensor, scheduler: str, num_steps: int
) -> None:
    editor = make_editor(scheduler=scheduler)
    inversion = editor.invert(latents=z_0, prompt="a lion", config=InversionConfig(num_steps=4, renoising=Renoising(1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DrawnNoiseWarning)
        result = editor.edit(inversion, "a lion", num_steps=num_steps, output_type="latent")
    assert torch.isfinite(result).all()
    assert any("drawn from the inversion's seed" in str(one.message) for one in caught) == (num_steps > 2)
    assert torch.equal(result, editor.edit(inversion, "a lion", num_steps=num_steps, output_type="latent"))


def test_equal_steps_draw_nothing(make_editor: MakeEditor, z_0: torch.Tensor, recwarn: pytest.WarningsRecorder) -> None:
    editor = make_editor(scheduler="LCMScheduler")
    inversion = editor.invert(latents=z_0, config=InversionConfig(num_steps=4, renoising=Renoising(1)))
    same = editor.edit(inversion, "", guidance_scale=1.0, num_steps=4, output_type="latent")
    assert torch.equal(same, editor.reconstruct(inversion, "latent"))
    assert not [one for one in recwarn if isinstance(one.message, RenoiseWarning)]


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
def test_another_number_of_steps_is_remarked_on_once(
    make_editor: MakeEditor, z_0: torch.Tensor, scheduler: str, num_steps: int
) -> None:
    editor = make_editor(scheduler=scheduler)
    inversion = editor.invert(latents=z_0, prompt="a lion", config=InversionConfig(num_steps=4, renoising=Renoising(1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenoiseWarning)
        editor.edit(inversion, "a lion", num_steps=num_steps, output_type="latent")
    (told,) = [one.message for one in caught if isinstance(one.message, RenoiseWarning)]
    assert isinstance(told, (DrawnNoiseWarning, OtherStepsWarning))
    assert "the source prompt no longer reconstructs the image" in str(told)


def test_the_advice_on_another_number_of_steps_is_right(make_editor: MakeEditor, z_0: torch.Tensor) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    inversion = editor.invert(latents=z_0, prompt="a lion", config=InversionConfig(num_steps=4, renoising=Renoising(9)))
    with pytest.warns(OtherStepsWarning, match="num_steps=4") as caught:
        other = editor.edit(inversion, "a lion", guidance_scale=1.0, num_steps=2, output_type="latent")
    (warned,) = [one for one in caught if isinstance(one.message, OtherStepsWarning)]
    assert warned.filename == __file__
    again = editor.edit(inversion, "a lion", guidance_scale=1.0, num_steps=4, output_type="latent")
    assert relative(again, z_0) < relative(other, z_0)


def test_noise_of_another_level_is_remarked_on_where_it_is_blended(editor: Editor, z_0: torch.Tensor) -> None:
    inversion = editor.invert(latents=z_0, prompt="a lion", config=editor.config(num_steps=2))
    loud = replace(inversion, latents=2.0 * inversion.latents)
    with pytest.warns(
        RenoiseWarning, match=r"noise has 2(\.\d)? times the deviation of noise at its first step"
    ) as said:
        editor.edit(loud, "a cat", output_type="latent")
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenoiseWarning)
        editor.edit(inversion, "a cat", output_type="latent")
        editor.edit(loud, "a cat", strength=0.0, output_type="latent")
        editor.edit(loud, "a cat", rule=PlainSampling(), output_type="latent")
