"""For each family our network call is the pipeline's own: the same latents come out of the same noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs, through_the_autoencoder
from quick import slow_but
from renoise import Editor, InversionConfig, Renoising
from tiny_pipelines import BUILDERS, NEWER

# PNDM and DPM-Solver, which two of them ship with, combine several steps and are refused.
FAMILIES = [name for name in BUILDERS if name not in ("sd15", "pixart-alpha", *NEWER)]

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


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("scheduler", ["DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete", "LCM"])
@pytest.mark.parametrize("name", ["sd15-ddim", "sd21-v", "sd21-zsnr", "sdxl"])
def test_with_other_samplers(name: str, scheduler: str, scale: float) -> None:
    editor = Editor(BUILDERS[name]()).with_scheduler(f"{scheduler}Scheduler")
    latents = start(editor, 1)
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=scale), expected) < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_images_go_through_the_pipelines_autoencoder(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    latents = editor.encode(picture, fit="keep")
    expected, decoded = through_the_autoencoder(editor.pipe, editor.fit(picture, fit="keep"))
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(editor.decode(latents, "pt"), decoded)


@pytest.mark.parametrize("name", slow_but(["sd15-ddim", "flux-dev"], FAMILIES))
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


MakeEditor = Callable[..., Editor]


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize(("scale", "negative"), [(1.0, None), (4.0, None), (4.0, "blurry")])
@pytest.mark.parametrize("count", [1, 3])
def test_denoising_is_the_pipelines_own(
    make_editor: MakeEditor, model: str, scheduler: str, scale: float, negative: str | None, count: int
) -> None:
    editor = make_editor(model, scheduler)
    latents, prompts = start(editor, count), PROMPTS[:count]
    negatives = None if negative is None else [negative] * count
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=scale, negative_prompt=negatives)
    assert relative(ours(editor, latents, prompts, negatives, guidance_scale=scale), expected) < 1e-4
