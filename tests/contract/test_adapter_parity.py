"""LoRA adapters and IP-Adapters of the user's pipeline act as in the pipeline's own call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import LCMScheduler
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError, Renoising, presets
from tiny_pipelines import BUILDERS, image_encoder, ip_adapter, lora
from written import with_ip_adapter

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]

FEW = InversionConfig(num_steps=2, renoising=Renoising(1))


def guidance(name: str) -> dict[str, float]:
    """Guidance that runs a second pass."""
    return {"guidance_scale": 3.5, "true_cfg_scale": 3.0} if name.startswith("flux") else {"guidance_scale": 3.0}


@pytest.mark.parametrize("text_encoder", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_lora_stays_in_force(name: str, text_encoder: bool, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    latents, prompts = start(editor, 3), PROMPTS
    plain = ours(editor, latents, prompts, None, guidance_scale=1.0)
    before = editor.invert(latents=latents, prompt=list(prompts), config=FEW)
    lora(pipe, tmp_path, text_encoder=text_encoder)
    pipe.load_lora_weights(tmp_path)
    expected = theirs(pipe, latents, prompts, guidance_scale=1.0)
    adapted = ours(editor, latents, prompts, None, guidance_scale=1.0)
    assert relative(adapted, expected) < 1e-4
    assert relative(adapted, plain) > 1e-3
    after = editor.invert(latents=latents, prompt=list(prompts), config=FEW)
    assert relative(after.latents, before.latents) > 1e-3
    with pytest.raises(ModelError, match="adapters"):
        editor.edit(before, list(prompts))
    pipe.unload_lora_weights()
    assert relative(ours(editor, latents, prompts, None, guidance_scale=1.0), plain) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_a_lora_is_the_pipelines(name: str, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    pipe.set_adapters(["style"], [0.3])
    editor = Editor(pipe)
    latents = start(editor, 1)
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=1.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-4


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl"])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_lora_with_lcm(name: str, scale: float, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    editor = Editor(pipe)
    assert InversionConfig.for_pipeline(pipe, "paper") == presets["lcm-lora"]
    assert InversionConfig.for_pipeline(pipe) == replace(presets["edit-few-step"], eta=None)
    latents = start(editor, 3)
    expected = theirs(pipe, latents, PROMPTS, guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS, None, guidance_scale=scale), expected) < 1e-4


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_ip_adapters_are_shown_the_image(
    name: str, count: int, guided: bool, tmp_path: Path, picture: Image.Image
) -> None:
    pipe = with_ip_adapter(name, tmp_path)
    editor = Editor(pipe)
    latents, prompts, scales = start(editor, count), PROMPTS[:count], {"guidance_scale": 1.0}
    negatives = None
    if guided:
        scales, negatives = guidance(name), ["blurry"] * count
    expected = theirs(pipe, latents, prompts, ip_adapter_image=picture, negative_prompt=negatives, **scales)
    embeds = editor.embed_images(picture)
    assert relative(ours(editor, latents, prompts, negatives, image_embeds=embeds, **scales), expected) < 1e-4
    others = editor.embed_images(picture.rotate(180))
    assert relative(ours(editor, latents, prompts, negatives, image_embeds=others, **scales), expected) > 1e-4


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl"])
def test_two_ip_adapters_of_which_one_sees_patches(name: str, tmp_path: Path, picture: Image.Image) -> None:
    pipe: Any = BUILDERS[name]()
    pipe.register_modules(**image_encoder(pipe))
    files = [ip_adapter(pipe, tmp_path, name=n, plus=plus)["weight_name"] for n, plus in (("a", False), ("b", True))]
    pipe.load_ip_adapter(tmp_path, subfolder="", weight_name=files, image_encoder_folder=None)
    editor = Editor(pipe)
    shown, latents = [picture, picture.rotate(90)], start(editor, 3)
    expected = theirs(pipe, latents, PROMPTS, ip_adapter_image=shown, guidance_scale=3.0)
    embeds = editor.embed_images(shown)
    assert relative(ours(editor, latents, PROMPTS, None, image_embeds=embeds, guidance_scale=3.0), expected) < 1e-4


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "flux-dev"])
def test_several_images_for_one_adapter(name: str, tmp_path: Path, picture: Image.Image) -> None:
    pipe = with_ip_adapter(name, tmp_path)
    editor, shown = Editor(pipe), [[picture, picture.rotate(180)]]
    latents, prompts, negatives = start(editor, 2), PROMPTS[:2], ["blurry"] * 2
    options: dict[str, Any] = {"negative_prompt": negatives, **guidance(name)}
    if name.startswith("flux"):
        # Its own call takes a single black image for none; as often as there are images is the same attention.
        options["negative_ip_adapter_image"] = [np.zeros((8, 8, 3), dtype=np.uint8)]
    expected = theirs(pipe, latents, prompts, ip_adapter_image=shown, **options)
    embeds = editor.embed_images(shown)
    result = ours(editor, latents, prompts, negatives, image_embeds=embeds, **guidance(name))
    assert relative(result, expected) < 1e-4
