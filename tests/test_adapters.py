"""LoRA adapters and IP-Adapters of the user's pipeline stay in force while inverting and editing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import (
    ConfigError,
    Editor,
    Inversion,
    InversionConfig,
    ModelError,
    NumericalError,
    Renoising,
    StorageError,
    presets,
)
from renoise.fingerprint import fingerprint, same_model
from tiny_pipelines import BUILDERS, image_encoder, ip_adapter, lora

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]
FEW = InversionConfig(num_steps=2, renoising=Renoising(1))


def guidance(name: str) -> dict[str, float]:
    """Guidance that runs a second pass."""
    return {"guidance_scale": 3.5, "true_cfg_scale": 3.0} if name.startswith("flux") else {"guidance_scale": 3.0}


def network(pipe: Any) -> Any:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def with_ip_adapter(name: str, folder: Path, **options: Any) -> Any:
    pipe: Any = BUILDERS[name]()
    pipe.register_modules(**image_encoder(pipe))
    pipe.load_ip_adapter(folder, **ip_adapter(pipe, folder, **options))
    pipe.set_ip_adapter_scale(0.7)
    return pipe


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


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_ip_adapters_are_shown_the_picture(
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


@pytest.mark.parametrize("name", NAMES)
def test_an_inversion_keeps_what_the_adapter_was_shown(name: str, tmp_path: Path, picture: Image.Image) -> None:
    editor = Editor(with_ip_adapter(name, tmp_path))
    z_0, other = start(editor, 2), picture.rotate(180)
    config = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(15))
    inversion = editor.invert(latents=z_0, prompt=["a lion", "a cat"], config=config, ip_adapter_image=picture)
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert relative(editor.reconstruct(loaded, "latent"), z_0) < 1e-2
    plain: Any = {"guidance_scale": loaded.config.guidance_scale, "output_type": "latent"}
    same = editor.edit(loaded, ["a lion", "a cat"], ip_adapter_image=picture, **plain)
    assert relative(same, editor.reconstruct(loaded, "latent")) < 1e-6
    changed = editor.edit(loaded, ["a lion", "a cat"], ip_adapter_image=other, **plain)
    assert relative(changed, same) > 1e-4
    embeds = editor.embed_images(other)
    given = editor.edit(loaded, ["a lion", "a cat"], ip_adapter_image_embeds=embeds, **plain)
    assert relative(given, changed) < 1e-6


def test_a_picture_for_each_of_a_batch(tmp_path: Path, picture: Image.Image) -> None:
    editor = Editor(with_ip_adapter("sdxl", tmp_path))
    z_0, shown = start(editor, 2), [picture, picture.rotate(180)]
    embeds = [editor.embed_images(p)[0] for p in shown]
    rows = torch.cat([*(e[:1] for e in embeds), *(e[1:] for e in embeds)])
    config = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)
    together = editor.invert(latents=z_0, config=config, ip_adapter_image_embeds=[rows])
    edits = editor.edit(together, [["a dog", "a fox"], ["a cat"]], output_type="latent")
    for i, (targets, own) in enumerate([(["a dog", "a fox"], edits[:2]), (["a cat"], edits[2:])]):
        alone = editor.invert(latents=z_0[i : i + 1], config=config, ip_adapter_image=shown[i])
        assert relative(together.latents[i : i + 1], alone.latents) < 1e-4
        assert relative(own, editor.edit(alone, targets, output_type="latent")) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_an_ip_adapter_without_a_picture_is_refused(name: str, tmp_path: Path) -> None:
    editor = Editor(with_ip_adapter(name, tmp_path))
    with pytest.raises(ConfigError, match="give ip_adapter_image"):
        editor.invert(latents=start(editor, 1), config=FEW)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_without_an_ip_adapter_is_refused(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="carries no IP-Adapter"):
        editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image=picture)
    with pytest.raises(ConfigError, match="for 0 IP-Adapters"):
        editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image_embeds=[torch.zeros(2, 1, 12)])


def test_wrong_pictures_and_embeddings_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    editor = Editor(with_ip_adapter("sdxl", tmp_path))
    z_0 = start(editor, 3)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ip_adapter_image": [picture, picture]}, "one for each IP-Adapter"),
        ({"ip_adapter_image": "picture.png"}, "cannot be used"),
        ({"ip_adapter_image_embeds": [torch.zeros(5, 1, 12)]}, "rows"),
        ({"ip_adapter_image_embeds": ["no tensor"]}, "list of tensors"),
        ({"ip_adapter_image": picture, "ip_adapter_image_embeds": [torch.zeros(2, 1, 12)]}, "not both"),
        ({"ip_adapter_image_embeds": [torch.zeros(2, 1, 12)] * 2}, "for 1 IP-Adapters"),
        ({"ip_adapter_image_embeds": [torch.zeros(2, 12)]}, "three dimensions"),
        ({"ip_adapter_image_embeds": [torch.zeros(2, 1, 13)]}, "width of 13"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ConfigError, match=message):
            editor.invert(latents=z_0, config=FEW, **arguments)
    editor.pipe.image_encoder = None
    with pytest.raises(ConfigError, match="no image_encoder"):
        editor.invert(latents=z_0, config=FEW, ip_adapter_image=picture)


def test_embeddings_that_make_no_sense_are_neither_taken_nor_saved(tmp_path: Path, picture: Image.Image) -> None:
    editor = Editor(with_ip_adapter("sdxl", tmp_path))
    wrong = torch.full((2, 1, 12), float("nan"))
    with pytest.raises(NumericalError, match="for the IP-Adapter; give finite values"):
        editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image_embeds=[wrong])
    inversion = editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image=picture)
    object.__setattr__(inversion, "image_embeds", (wrong,))
    with pytest.raises(StorageError, match="image_embeds"):
        inversion.save(tmp_path / "i.safetensors")


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "flux-dev"])
def test_several_pictures_for_one_adapter(name: str, tmp_path: Path, picture: Image.Image) -> None:
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


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_knows_scales_and_not_names(name: str, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    plain = fingerprint(pipe)
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="one")
    adapted = fingerprint(pipe)
    assert not same_model(adapted, plain)
    pipe.set_adapters(["one"], [0.5])
    assert not same_model(fingerprint(pipe), adapted)
    pipe.disable_lora()
    assert same_model(fingerprint(pipe), plain)
    other: Any = BUILDERS[name]()
    other.load_lora_weights(tmp_path, adapter_name="another_name")
    assert same_model(fingerprint(other), adapted)
    for parameter in (p for n, p in network(other).named_parameters() if "lora_B" in n):
        parameter.data.add_(0.1)
    assert not same_model(fingerprint(other), adapted)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_an_ip_adapter_belongs_to_the_model(name: str, tmp_path: Path, picture: Image.Image) -> None:
    editor = Editor(with_ip_adapter(name, tmp_path))
    inversion = editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image=picture)
    editor.pipe.set_ip_adapter_scale(0.1)
    with pytest.raises(ModelError, match="adapters"):
        editor.reconstruct(inversion)
    weaker = editor.edit(inversion, "", output_type="latent", force=True)
    editor.pipe.set_ip_adapter_scale(0.7)
    assert relative(weaker, editor.reconstruct(inversion, "latent")) > 1e-4


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl"])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_lora_with_lcm(name: str, scale: float, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    editor = Editor(pipe)
    assert InversionConfig.for_pipeline(pipe) == presets["lcm-lora"]
    latents = start(editor, 3)
    expected = theirs(pipe, latents, PROMPTS, guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS, None, guidance_scale=scale), expected) < 1e-4
