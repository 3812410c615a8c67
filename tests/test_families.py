"""For each family our network call is the pipeline's own: the same latents come out of the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import ConfigError, Editor, InversionConfig, ModelError, Renoising
from renoise.backbones.flux import pack, unpack
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
    vae = editor.pipe.vae
    latents = editor.encode(picture, fit="keep")
    fitted = editor.fit(picture, fit="keep")
    pixels = editor.pipe.image_processor.preprocess(fitted)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    with torch.no_grad():
        expected = (vae.encode(pixels).latent_dist.mode() - shift) * vae.config.scaling_factor
        decoded = vae.decode(expected / vae.config.scaling_factor + shift).sample
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(editor.decode(latents, "pt"), (decoded / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_pipeline_inverts_and_edits_by_path(name: str, tmp_path: Path, picture: Image.Image) -> None:
    BUILDERS[name]().save_pretrained(tmp_path / "model")
    # diffusers saves a pipeline without T5 but loads it only if it is told so.
    without: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-no-t5" else {}
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu", **without)
    config = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(12), guidance_scale=1.0)
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
    grid = editor._backbone.latent_scale * editor._backbone.latent_multiple
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
        editor.invert(latents=torch.zeros(1, editor._backbone.latent_channels, 8, 7))


def test_pictures_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["sd3"]())
    most = editor.pipe.transformer.config.pos_embed_max_size * 2
    with pytest.raises(ConfigError, match="positions"):
        editor.invert(latents=torch.zeros(1, editor._backbone.latent_channels, 2, most + 2))


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
