"""For each family our network call is the pipeline's own: the same latents come out of the same noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs, through_the_autoencoder
from renoise import ConfigError, EditLosses, Editor, InversionConfig, ModelError, Renoising, presets
from renoise.backbones.flux import pack, unpack
from renoise.defaults import edit_guidance_for
from tiny_pipelines import BUILDERS

# PNDM, which SD 1.5 ships with, combines several steps and is refused; "sd15-ddim" is the same network.
FAMILIES = [name for name in BUILDERS if name != "sd15"]
FLUX = [name for name in FAMILIES if name.startswith("flux")]
# Those whose guidance scale is classifier-free guidance.
GUIDED = [name for name in FAMILIES if not name.startswith(("flux", "lcm", "sdxl-lcm"))]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_without_guidance(name: str, count: int) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), PROMPTS[:count]
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=1.0)
    assert relative(ours(editor, latents, prompts, None, guidance_scale=1.0), expected) < 1e-4


@pytest.mark.parametrize("negative", [None, "blurry"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", GUIDED)
def test_with_guidance(name: str, count: int, negative: str | None) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), PROMPTS[:count]
    negatives = None if negative is None else [negative] * count
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=4.0, negative_prompt=negatives)
    assert relative(ours(editor, latents, prompts, negatives, guidance_scale=4.0), expected) < 1e-4
    assert relative(ours(editor, latents, prompts, negatives, guidance_scale=1.0), expected) > 1e-3


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["lcm", "sdxl-lcm", "flux-dev"])
def test_a_guidance_scale_that_is_an_input_of_the_network(name: str, count: int) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), PROMPTS[:count]
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=4.0)
    assert relative(ours(editor, latents, prompts, None, guidance_scale=4.0), expected) < 1e-4
    assert relative(ours(editor, latents, prompts, None, guidance_scale=1.0), expected) > 1e-3


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", FLUX)
@pytest.mark.parametrize("negative", ["", "blurry"])
def test_true_guidance(name: str, count: int, negative: str) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts, negatives = start(editor, count), PROMPTS[:count], [negative] * count
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=3.5, true_cfg_scale=3.0, negative_prompt=negatives)
    scales = {"guidance_scale": 3.5, "true_cfg_scale": 3.0}
    assert relative(ours(editor, latents, prompts, negatives, **scales), expected) < 1e-4
    if not negative:
        assert relative(ours(editor, latents, prompts, None, **scales), expected) < 1e-4
    assert relative(ours(editor, latents, prompts, negatives, guidance_scale=3.5), expected) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_go_through_the_pipelines_autoencoder(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    latents = editor.encode(picture, fit="keep")
    expected, decoded = through_the_autoencoder(editor.pipe, editor.fit(picture, fit="keep"))
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(editor.decode(latents, "pt"), decoded)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_pipeline_inverts_and_edits_by_path(name: str, tmp_path: Path, picture: Image.Image) -> None:
    BUILDERS[name]().save_pretrained(tmp_path / "model")
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu")
    config = InversionConfig(num_steps=8, strength=0.25, renoising=Renoising(12), guidance_scale=1.0)
    inversion = editor.invert([picture, picture.rotate(180)], ["a lion", "a cat"], config=config, fit="keep")
    z_0 = editor.encode([picture, picture.rotate(180)], fit="keep")
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-2
    assert relative(editor.edit(inversion, "a dog", output_type="latent"), z_0) > 1e-3
    edited = editor.edit(inversion, ["a dog", "a fox"], guidance_scale=2.0)
    assert [p.size for p in edited] == [picture.size] * 2


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_resolution(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    height, width = editor.size
    grid = editor.model.backbone.latent_scale * editor.model.backbone.latent_multiple
    assert height % grid == width % grid == 0


def test_packing_is_the_pipelines_own() -> None:
    from diffusers import FluxPipeline

    latents = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    packed = pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 5, 4, 6))
    assert torch.equal(unpack(packed, 4, 6), latents)


@pytest.mark.parametrize("name", ["flux-dev", "sd3"])
def test_latents_that_cannot_be_patched_are_refused(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="multiples of 2"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 8, 7))


def test_pictures_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["sd3"]())
    most = editor.pipe.transformer.config.pos_embed_max_size * 2
    with pytest.raises(ConfigError, match="positions"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 2, most + 2))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in FLUX])
def test_true_guidance_belongs_to_models_with_another_kind_built_in(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    config = InversionConfig(num_steps=2, true_cfg_scale=2.0)
    with pytest.raises(ConfigError, match="use guidance_scale"):
        editor.invert(latents=start(editor, 1), config=config)


def test_a_guidance_scale_without_effect_is_said(caplog: pytest.LogCaptureFixture) -> None:
    editor = Editor(BUILDERS["flux-schnell"]())
    editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=1, guidance_scale=3.0))
    assert "no effect" in caplog.text


@pytest.mark.parametrize(("name", "component"), [("sd3", "text_encoder_2"), ("flux-dev", "transformer")])
def test_a_missing_component_is_named(name: str, component: str) -> None:
    pipe: Any = BUILDERS[name]()
    setattr(pipe, component, None)
    with pytest.raises(ModelError, match=f"no {component}"):
        Editor(pipe)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("scheduler", ["DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete", "LCM"])
@pytest.mark.parametrize("name", ["sd15-ddim", "sd21-v", "sd21-zsnr", "sdxl"])
def test_with_other_samplers(name: str, scheduler: str, scale: float) -> None:
    editor = Editor(BUILDERS[name]()).with_scheduler(f"{scheduler}Scheduler")
    latents = start(editor, 1)
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=scale), expected) < 1e-4


@pytest.mark.parametrize("name", ["sd3", "sd35-dynamic", "flux-dev", "flux-schnell"])
def test_a_batch_gives_what_its_pictures_give_alone(name: str, picture: Image.Image) -> None:
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


@pytest.mark.parametrize("name", ["sd35-dynamic", "flux-dev"])
def test_larger_pictures_have_noisier_schedules(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    config = InversionConfig(num_steps=4)
    small, large = (editor.model.steps(editor.pipe.scheduler, config, (side, side)) for side in (256, 1024))
    assert all(s.sigma < larger.sigma for s, larger in zip(small[1:], large[1:], strict=True))


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "flux-schnell"])
def test_strength_rounds_as_the_image_to_image_pipeline_does(name: str) -> None:
    import diffusers

    pipe: Any = BUILDERS[name]()
    cls = diffusers.FluxImg2ImgPipeline if name in FLUX else diffusers.StableDiffusion3Img2ImgPipeline
    image_to_image = cls(**pipe.components)
    editor = Editor(image_to_image)
    for num_steps, strength in [(4, 0.3), (4, 0.5), (28, 0.6), (10, 0.99)]:
        config = InversionConfig(num_steps=num_steps, strength=strength)
        made = editor.model.steps(pipe.scheduler, config, (64, 64))
        options = editor.model.backbone.schedule(pipe.scheduler, num_steps, (64, 64))
        image_to_image.scheduler.set_timesteps(num_steps, **options)
        timesteps, _ = image_to_image.get_timesteps(num_steps, strength, "cpu")
        assert [step.timestep for step in made] == pytest.approx(timesteps.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("sd15-ddim", "sd"),
        ("sd21-v", "sd"),
        ("sd21-zsnr", "sd"),
        ("sd-turbo", "sd-turbo"),
        ("sdxl", "sdxl"),
        ("sdxl-turbo", "sdxl-turbo"),
        ("sd3", "sd3"),
        ("sd35-dynamic", "sd3"),
        ("flux-dev", "flux"),
        ("flux-schnell", "flux-schnell"),
    ],
)
def test_each_family_finds_its_preset(name: str, preset: str) -> None:
    assert InversionConfig.for_pipeline(BUILDERS[name]()) == presets[preset]


@pytest.mark.parametrize("name", ["lcm", "sdxl-lcm"])
def test_an_lcm_is_inverted_at_a_guidance_that_it_was_trained_with(name: str) -> None:
    config = InversionConfig.for_pipeline(BUILDERS[name]())
    assert config == replace(presets["lcm"], guidance_scale=8.5 if name == "lcm" else 5.0)


def test_families_know_pipelines_that_are_made_from_theirs() -> None:
    for name, preset in [("flux-schnell", "flux-schnell"), ("sdxl", "sdxl"), ("sd3", "sd3")]:
        pipe: Any = BUILDERS[name]()
        pipe.__class__ = type("MyPipeline", (type(pipe),), {})
        assert InversionConfig.for_pipeline(pipe) == presets[preset]
        assert Editor(pipe).size == Editor(BUILDERS[name]()).size


@pytest.mark.parametrize(("name", "guidance"), [("lcm", 8.5), ("sdxl-lcm", 5.0), ("flux-dev", 3.5), ("sd3", 1.5)])
def test_edits_are_guided_as_the_pipeline_would_be(name: str, guidance: float) -> None:
    assert edit_guidance_for(BUILDERS[name]()) == guidance


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "sdxl"])
def test_networks_that_are_shown_more_than_the_latent_are_refused(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    network = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    network.register_to_config(in_channels=network.config.in_channels + 9)
    with pytest.raises(ModelError, match="fill models"):
        Editor(pipe)


def test_timesteps_are_those_of_the_pictures_size(picture: Image.Image) -> None:
    editor = Editor(BUILDERS["flux-dev"]())
    told: list[float] = []
    config = InversionConfig(num_steps=3, renoising=Renoising(0))
    inversion = editor.invert(picture, config=config, fit="keep", progress=lambda p: told.append(p.timestep))
    assert editor.timesteps(config, inversion.size) == tuple(reversed(told))
    assert editor.timesteps(config) != tuple(reversed(told))
