"""Each family of `tiny_pipelines.NEWER` draws what its pipeline's own call draws, and inverts, edits, loads and adapts.

A new family joins all of these tests by a line in the tiny pipelines.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from quick import slow_but
from renoise import Editor, InversionConfig
from renoise.backbones.base import Request
from tiny_pipelines import BUILDERS, NEWER, lora

EACH = pytest.mark.parametrize("name", NEWER)
SOME = pytest.mark.parametrize("name", slow_but(["z-image-turbo"], NEWER))
SIZES = ((16, 24), (20, 8))


@cache
def shared(name: str) -> Editor:
    """Return an editor for tests that do not change its pipeline."""
    return Editor(BUILDERS[name]())


def guidance(editor: Editor, scale: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a guidance for the pipeline's call and for ours; None is no guidance."""
    backbone, call = editor.model.backbone, inspect.signature(editor.pipe.__call__).parameters
    own = {"guidance_scale": backbone.unguided if scale is None or backbone.takes_true_cfg else scale}
    if backbone.takes_true_cfg:
        own["true_cfg_scale"] = 1.0 if scale is None else scale
    # A cache of the text is the same as computing it again only up to rounding; sizes are ours, not the nearest of a
    # list; and schedules of three steps have nothing in the middle.
    more = {"use_kv_cache": False, "use_resolution_binning": False, "intermediate_timesteps": None}
    return {name: value for name, value in {**own, **more}.items() if name in call}, own


def guides(editor: Editor) -> bool:
    return editor.model.backbone.guides(4.0, 4.0)


@pytest.mark.parametrize("size", [pytest.param(SIZES[0], marks=pytest.mark.slow), SIZES[1]])
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
@EACH
def test_without_guidance(name: str, count: int, size: tuple[int, int]) -> None:
    editor = shared(name)
    latents, prompts = start(editor, count, size), PROMPTS[:count]
    asked, own = guidance(editor, None)
    expected = theirs(editor.pipe, latents, prompts, **asked)
    assert relative(ours(editor, latents, prompts, None, **own), expected) < 1e-4


@pytest.mark.parametrize("name", ["krea2", "lumina2", "z-image"])
def test_schedules_of_another_number_of_timesteps(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=500, shift=3.0)
    editor = Editor(pipe)
    latents, (asked, own) = start(editor, 1), guidance(editor, None)
    expected = theirs(pipe, latents, PROMPTS[:1], **asked)
    assert relative(ours(editor, latents, PROMPTS[:1], None, **own), expected) < 1e-4


@pytest.mark.parametrize("negative", [pytest.param(None, marks=pytest.mark.slow), "blurry"])
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
@EACH
def test_with_guidance(name: str, count: int, negative: str | None) -> None:
    editor = shared(name)
    latents, prompts = start(editor, count), PROMPTS[:count]
    asked, own = guidance(editor, 4.0)
    negatives = None if negative is None or not guides(editor) else [negative] * count
    if negatives is not None and "negative_prompt" not in inspect.signature(editor.pipe.__call__).parameters:
        given = {"negative_prompt_embeds": editor.pipe.encode_prompt(negatives, device="cpu")[0]}
    elif editor.model.backbone.takes_true_cfg:
        given = {"negative_prompt": list(negatives or [""] * count)}
    else:
        given = {} if negatives is None else {"negative_prompt": list(negatives)}
    expected = theirs(editor.pipe, latents, prompts, **asked, **given)
    assert relative(ours(editor, latents, prompts, negatives, **own), expected) < 1e-4
    without = ours(editor, latents, prompts, None, **guidance(editor, None)[1])
    heard = guides(editor) or editor.model.backbone.built_in_guidance(editor.pipe) is not None  # type: ignore[attr-defined]
    assert (relative(without, expected) > 1e-3) is heard


@EACH
def test_images_are_those_of_the_pipeline(name: str) -> None:
    editor = shared(name)
    latents = start(editor, 2)
    asked, own = guidance(editor, None)
    expected = theirs(editor.pipe, latents, PROMPTS[:2], output_type="pt", **asked)[:, :3]
    drawn = editor.decode(ours(editor, latents, PROMPTS[:2], None, **own), "pt")
    torch.testing.assert_close(drawn, expected.float().clamp(0, 1), rtol=1e-3, atol=1e-4)


@EACH
def test_an_encoded_image_is_decoded_as_its_autoencoder_does(name: str, picture: Image.Image) -> None:
    editor = shared(name)
    vae, fitted = editor.pipe.vae, editor.fit(picture, fit="keep")
    pixels = editor.pipe.image_processor.preprocess(fitted)
    if vae.config.get("in_channels") == 4:
        pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
    pixels = pixels.unsqueeze(2) if "temperal_downsample" in vae.config else pixels
    with torch.no_grad():
        encoded = vae.encode(pixels)
        z = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
        expected = (vae.decode(z, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)
    decoded = editor.decode(editor.encode(picture, fit="keep"), "pt")
    expected = expected.squeeze(2)[:, :3] if expected.ndim == 5 else expected
    torch.testing.assert_close(decoded, expected, rtol=1e-3, atol=1e-4)


@EACH
def test_latents_at_several_steps_run_as_one_batch(name: str) -> None:
    editor = shared(name)
    backbone, latents = editor.model.backbone, start(editor, 3)
    size = editor.model.pixels(latents)
    steps = editor.model.steps(editor.pipe.scheduler, InversionConfig(num_steps=3), size)
    with torch.no_grad():
        condition = backbone.condition(Request(PROMPTS, None, backbone.unguided, size))
        together = backbone.predict_each(latents, steps, condition)
        alone = [backbone.predict(latents[i : i + 1], step, condition.of([i])) for i, step in enumerate(steps)]
    assert relative(together, torch.cat(alone)) < 1e-5


@pytest.mark.parametrize("variant", slow_but(["edit"], ["edit", "exact"]))
@EACH
def test_an_image_comes_back_from_its_noise(name: str, variant: str, picture: Image.Image) -> None:
    editor = shared(name)
    if variant == "exact" and not editor.model.backbone.flow:
        pytest.skip("untrained networks are too wild for many steps of diffusion: see backbones/test_transformer.py")
    inversion = editor.invert(picture, "a lion", config=editor.config(variant), fit="keep")
    z_0 = editor.encode(picture, fit="keep")
    assert inversion.config.num_steps <= InversionConfig.for_pipeline(editor.pipe, "paper").num_steps
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3
    assert relative(editor.edit(inversion, "a dog", output_type="latent"), z_0) > 1e-3


@SOME
def test_a_guided_inversion_comes_back(name: str, picture: Image.Image) -> None:
    editor = shared(name)
    if not guides(editor):
        pytest.skip("its model takes no guidance")
    config = replace(editor.config("edit", num_steps=4), **guidance(editor, 2.0)[1])
    inversion = editor.invert(picture, "a lion", config=config, fit="keep", negative_prompt="blurry")
    assert relative(editor.reconstruct(inversion, "latent"), editor.encode(picture, fit="keep")) < 1e-3


@SOME
def test_a_batch_gives_what_its_images_give_alone(name: str, picture: Image.Image) -> None:
    editor = shared(name)
    pictures, prompts = [picture, picture.rotate(180)], ["a lion", "a long prompt about a cat in the rain"]
    config = replace(editor.config("paper"), num_steps=3, strength=0.7)
    together = editor.invert(pictures, prompts, config=config, fit="keep")
    for i in range(2):
        alone = editor.invert(pictures[i], prompts[i], config=config, fit="keep")
        # A family whose pipeline pads prompts to the longest one without a mask cannot keep them apart.
        if editor.model.backbone.one_length:  # type: ignore[attr-defined]
            assert relative(together.latents[i : i + 1], alone.latents) < 1e-4


@SOME
def test_a_saved_pipeline_inverts_and_edits_by_path(name: str, tmp_path: Path, picture: Image.Image) -> None:
    if "processor" in shared(name).pipe.components:
        pytest.skip("its processor of texts and images wants torchvision")
    BUILDERS[name]().save_pretrained(tmp_path / "model")
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu")
    inversion = editor.invert([picture, picture.rotate(180)], ["a lion", "a cat"], fit="keep")
    z_0 = editor.encode([picture, picture.rotate(180)], fit="keep")
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3
    edited = editor.edit(inversion, ["a dog", "a fox"])
    assert [p.size for p in edited] == [picture.size] * 2
    inversion.save(tmp_path / "noise.safetensors")
    again = shared(name).edit(type(inversion).load(tmp_path / "noise.safetensors"), ["a dog", "a fox"])
    # Equal weights elsewhere in memory may be summed in another order, and pixels are rounded.
    for one, other in zip(again, edited, strict=True):
        assert np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() <= 1


@SOME
def test_a_lora_acts_as_in_the_pipelines_own_call(name: str, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    if not hasattr(pipe, "load_lora_weights"):
        pytest.skip("its pipeline takes no LoRA")
    editor = Editor(pipe)
    latents, (asked, own) = start(editor, 1), guidance(editor, None)
    plain = ours(editor, latents, PROMPTS[:1], None, **own)
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    pipe.set_adapters(["style"], [0.7])
    adapted = ours(editor, latents, PROMPTS[:1], None, **own)
    assert relative(adapted, theirs(pipe, latents, PROMPTS[:1], **asked)) < 1e-4
    assert relative(adapted, plain) > 1e-3


@SOME
def test_it_runs_in_bfloat16(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]().to(torch.bfloat16))
    config = editor.config("edit", num_steps=2)
    inversion = editor.invert(picture, "a lion", config=config, fit="keep")
    assert inversion.latents.dtype == torch.float32
    z_0 = editor.encode(picture, fit="keep")
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3
    assert relative(z_0, shared(name).encode(picture, fit="keep")) < 0.1


@SOME
def test_networks_wait_elsewhere_until_they_are_needed(name: str, picture: Image.Image) -> None:
    config = shared(name).config("edit", num_steps=2)
    expected = shared(name).invert(picture, "a lion", config=config, fit="keep")
    pipe: Any = BUILDERS[name]()
    pipe.enable_model_cpu_offload(device="cpu")
    inversion = Editor(pipe).invert(picture, "a lion", config=config, fit="keep")
    assert inversion.noise is not None
    assert expected.noise is not None
    assert relative(inversion.noise, expected.noise) < 1e-5


@EACH
def test_pipelines_of_the_same_parts_are_of_the_family(name: str) -> None:
    editor = shared(name)
    family = type(editor.model.backbone)
    for kind in family.pipelines:  # type: ignore[attr-defined]
        if kind.replace("Img2Img", "").replace("Inpaint", "") != type(editor.pipe).__name__:
            continue
        pipeline = getattr(diffusers, kind)
        wanted = inspect.signature(pipeline.__init__).parameters
        given = {**editor.pipe.config, **editor.pipe.components}
        other = Editor(pipeline(**{part: value for part, value in given.items() if part in wanted}))
        assert type(other.model.backbone) is family
        latents, own = start(editor, 1), guidance(editor, None)[1]
        one, two = (ours(each, latents, PROMPTS[:1], None, **own) for each in (editor, other))
        assert relative(two, one) < 1e-6
