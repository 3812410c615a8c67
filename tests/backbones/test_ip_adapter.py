"""IP-Adapters: inversions keep what they were shown, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import relative, start
from quick import slow_but
from renoise import (
    ConfigError,
    Editor,
    Inversion,
    InversionConfig,
    ModelError,
    NumericalError,
    Renoising,
    StorageError,
)
from tiny_pipelines import BUILDERS
from written import with_ip_adapter

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]

FEW = InversionConfig(num_steps=2, renoising=Renoising(1))


@pytest.mark.parametrize("name", slow_but(["sd3"], NAMES))
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


def test_a_image_for_each_of_a_batch(tmp_path: Path, picture: Image.Image) -> None:
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
def test_an_ip_adapter_without_a_image_is_refused(name: str, tmp_path: Path) -> None:
    editor = Editor(with_ip_adapter(name, tmp_path))
    with pytest.raises(ConfigError, match="give ip_adapter_image"):
        editor.invert(latents=start(editor, 1), config=FEW)


@pytest.mark.parametrize("name", NAMES)
def test_a_image_without_an_ip_adapter_is_refused(name: str, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="carries no IP-Adapter"):
        editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image=picture)
    with pytest.raises(ConfigError, match="for 0 IP-Adapters"):
        editor.invert(latents=start(editor, 1), config=FEW, ip_adapter_image_embeds=[torch.zeros(2, 1, 12)])


def test_wrong_images_and_embeddings_are_refused(tmp_path: Path, picture: Image.Image) -> None:
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
