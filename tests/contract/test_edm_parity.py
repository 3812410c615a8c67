"""EDM models, as Playground 2.5: SDXL's network with EDM's preconditioning, sampled as its pipelines do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler, StableDiffusionXLImg2ImgPipeline

from parity import PROMPTS, ours, relative, start, theirs
from renoise import EditLosses, Editor, InversionConfig, Renoising, SchedulerError
from renoise.backbones import Request
from renoise.walks import denoise_steps
from tiny_pipelines import BUILDERS

SETTINGS: list[dict[str, Any]] = [
    {},
    {"prediction_type": "v_prediction", "sigma_schedule": "exponential", "sigma_max": 120.0, "sigma_data": 1.0},
]


def playground(**settings: Any) -> Any:
    """SDXL as Playground 2.5 has it: an EDM scheduler, and latents that are standardised by channel to half a unit."""
    pipe: Any = BUILDERS["sdxl"]()
    pipe.scheduler = EDMEulerScheduler(**settings)
    pipe.vae.register_to_config(
        latents_mean=[-1.6, 1.1, 3.0, -2.5], latents_std=[8.4, 5.9, 5.3, 5.2], scaling_factor=0.5
    )
    return pipe


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("settings", SETTINGS)
def test_our_walk_is_the_pipelines_own(settings: dict[str, Any], scale: float) -> None:
    editor = Editor(playground(**settings))
    latents = start(editor, 3)
    expected = theirs(editor.pipe, latents, PROMPTS, guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS, None, guidance_scale=scale), expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_an_image_comes_back(settings: dict[str, Any]) -> None:
    editor = Editor(playground(**settings))
    config = InversionConfig(num_steps=10, renoising=Renoising(6))
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    prepared = editor.prepare(image)
    inversion = editor.invert(prepared, PROMPTS[0], config=config)
    assert relative(editor.reconstruct(inversion, "latent"), prepared.latents) < 1e-3
    # The pipeline itself draws the image from the inversion's noise.
    start_at = inversion.latents / editor.pipe.scheduler.init_noise_sigma
    drawn = editor.pipe(
        PROMPTS[0],
        latents=start_at,
        num_inference_steps=10,
        guidance_scale=1.0,
        height=64,
        width=64,
        output_type="latent",
    ).images
    assert relative(drawn, prepared.latents) < 1e-3


def test_with_the_papers_settings_and_fewer_steps_the_noise_is_of_its_level() -> None:
    editor = Editor(playground())
    assert editor.config("paper").num_steps == editor.config("balanced").num_steps == 50
    config = editor.config("paper", num_steps=10)
    assert config.edit_losses is not None
    inversion = editor.invert(latents=0.5 * start(editor, 2), prompt=list(PROMPTS[:2]), config=config)
    assert torch.isfinite(inversion.latents).all()
    steps = editor.model.steps(editor.pipe.scheduler, config, (64, 64))
    assert [config.renoising_at(step.placed_at) == config.renoising for step in steps] == [
        step.sigma > 0.5 * 0.414 for step in steps
    ]
    assert {config.renoising_at(step.placed_at) for step in steps} == {config.renoising, config.renoising_low_noise}


def test_edit_losses_see_the_noise_that_a_prediction_implies() -> None:
    editor = Editor(playground())
    z_0 = 0.5 * start(editor, 1)
    plain = InversionConfig(num_steps=5, renoising=Renoising(1))
    kept = InversionConfig(num_steps=5, renoising=Renoising(1), edit_losses=EditLosses())
    a, b = (editor.invert(latents=z_0, config=config).latents for config in (plain, kept))
    assert relative(a, b) > 1e-4
    assert 0.5 < float(b.std() / a.std()) < 4.0


def test_strength_is_the_image_to_image_pipelines() -> None:
    editor = Editor(playground())
    z_0, noise = 0.5 * start(editor, 1), torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    steps = editor.model.steps(editor.pipe.scheduler, InversionConfig(num_steps=10, strength=0.35), (64, 96))
    pipe = StableDiffusionXLImg2ImgPipeline(**editor.pipe.components)
    options = {"num_inference_steps": 10, "strength": 0.35, "guidance_scale": 1.0}
    expected = pipe(
        PROMPTS[0], image=z_0, generator=torch.Generator().manual_seed(1), output_type="latent", **options
    ).images
    with torch.no_grad():
        request = Request(PROMPTS[:1], None, size=(64, 96), guidance_scale=1.0)
        network = editor.model.network(editor.model.backbone.condition(request))
        for walked in denoise_steps(steps, network, steps[0].add_noise(z_0, noise), None):
            z = walked.latents
    assert len(steps) == 3
    assert relative(z, expected) < 1e-4


@pytest.mark.parametrize("options", [{}, {"sampler": "edm-euler"}, {"sampler": "EDMEulerScheduler"}])
def test_a_saved_model_with_the_sampler_of_several_steps_is_sampled_with_euler(
    tmp_path: Path, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    pipe = playground()
    pipe.scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.01, sigma_max=70.0, sigma_data=0.6, rho=5.0)
    pipe.save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="renoise"):
        editor = Editor.from_pretrained(tmp_path, device="cpu", **options)
    assert ("sampling with EDMEulerScheduler instead" in caplog.text) == (not options)
    kept = {k: editor.pipe.scheduler.config[k] for k in ("sigma_min", "sigma_max", "sigma_data", "rho")}
    assert kept == {"sigma_min": 0.01, "sigma_max": 70.0, "sigma_data": 0.6, "rho": 5.0}
    config = InversionConfig(num_steps=3, renoising=Renoising(1))
    assert editor.invert(torch.rand(3, 64, 64), "a", config=config).scheduler["class"] == "EDMEulerScheduler"
    with pytest.raises(SchedulerError, match=r"two kinds of models, EDM and"):
        Editor.from_pretrained(tmp_path, device="cpu", sampler="euler")
