"""Flow families: schedules that depend on the image's size, and what is computed from a velocity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from parity import relative, start
from renoise import ConfigError, EditLosses, Editor, InversionConfig, Renoising
from tiny_pipelines import BUILDERS


@pytest.mark.parametrize("name", ["flux-dev", "sd3"])
def test_latents_that_cannot_be_patched_are_refused(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="multiples of 2"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 8, 7))


@pytest.mark.parametrize("name", ["sd35-dynamic", "flux-dev"])
def test_larger_images_have_noisier_schedules(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    config = InversionConfig(num_steps=4)
    small, large = (editor.model.steps(editor.pipe.scheduler, config, (side, side)) for side in (256, 1024))
    assert all(s.sigma < larger.sigma for s, larger in zip(small[1:], large[1:], strict=True))


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "flux-schnell"])
def test_strength_rounds_as_the_image_to_image_pipeline_does(name: str) -> None:
    import diffusers

    pipe: Any = BUILDERS[name]()
    cls = diffusers.FluxImg2ImgPipeline if name.startswith("flux") else diffusers.StableDiffusion3Img2ImgPipeline
    image_to_image = cls(**pipe.components)
    editor = Editor(image_to_image)
    for num_steps, strength in [(4, 0.3), (4, 0.5), (28, 0.6), (10, 0.99)]:
        config = InversionConfig(num_steps=num_steps, strength=strength)
        made = editor.model.steps(pipe.scheduler, config, (64, 64))
        options = editor.model.backbone.schedule(pipe.scheduler, num_steps, (64, 64))
        image_to_image.scheduler.set_timesteps(num_steps, **options)
        timesteps, _ = image_to_image.get_timesteps(num_steps, strength, "cpu")
        assert [step.timestep for step in made] == pytest.approx(timesteps.tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["sd3", "flux-dev"])
def test_edit_losses_work_on_the_noise_that_a_velocity_implies(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    z_0 = start(editor, 1)
    steps = editor.model.steps(editor.pipe.scheduler, InversionConfig(num_steps=8), editor.model.pixels(z_0))
    noise = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(2))
    for step in steps[1:]:
        noised = step.add_noise(z_0, noise)
        torch.testing.assert_close(step.implied_noise(noised, noise - z_0), noise, rtol=1e-4, atol=1e-4)
    plain = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(1))
    without = editor.invert(latents=z_0, config=plain)
    enhanced = editor.invert(latents=z_0, config=replace(plain, edit_losses=EditLosses(pair=10.0, patch_kl=0.05)))
    assert relative(enhanced.latents, without.latents) > 1e-4
    assert enhanced.network_passes == without.network_passes + 4


@pytest.mark.parametrize("name", ["sd3", "sd35-dynamic", "flux-dev", "flux-schnell"])
def test_a_batch_gives_what_its_images_give_alone(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    pictures, prompts = [picture, picture.rotate(180)], ["a lion", "a long prompt about a cat in the rain"]
    losses = EditLosses(pair=1.0, patch_kl=0.01)
    config = InversionConfig(
        num_steps=8, strength=0.5, renoising=Renoising(2, average=(1, 3)), edit_losses=losses, guidance_scale=1.0
    )
    together = editor.invert(pictures, prompts, config=config, fit="keep")
    edits = editor.edit(together, ["a dog", "a fox"], output_type="latent")
    for i, target in enumerate(["a dog", "a fox"]):
        alone = editor.invert(pictures[i], prompts[i], config=config, fit="keep")
        assert relative(together.latents[i : i + 1], alone.latents) < 1e-4
        assert relative(edits[i : i + 1], editor.edit(alone, target, output_type="latent")) < 1e-3
    assert together.network_passes == alone.network_passes == 4 * (3 + 1)
