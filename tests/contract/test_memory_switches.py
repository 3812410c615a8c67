"""The memory and speed switches of diffusers keep working while inverting and editing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import relative, start, through_the_autoencoder
from quick import slow_but
from renoise import Editor, InversionConfig, Renoising
from tiny_pipelines import BUILDERS

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]

FEW = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)


def name_of_network(pipe: Any) -> str:
    return "unet" if hasattr(pipe, "unet") else "transformer"


@pytest.mark.parametrize("name", NAMES)
def test_networks_wait_elsewhere_until_they_are_needed(name: str, picture: Image.Image) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    expected = editor.invert(picture, "a lion", config=FEW, fit="keep")
    edited = editor.edit(expected, "a dog", output_type="pt")
    # The hooks are those of a machine with an accelerator; here they move networks from the CPU to the CPU.
    pipe.enable_model_cpu_offload(device="cpu")
    freed: list[int] = []
    free = pipe.maybe_free_model_hooks

    def counted() -> None:
        freed.append(1)
        free()

    pipe.maybe_free_model_hooks = counted
    inversion = editor.invert(picture, "a lion", config=FEW, fit="keep")
    assert relative(inversion.latents, expected.latents) < 1e-6
    assert len(freed) == 2, "once after the autoencoder, once after the network"
    assert relative(editor.edit(inversion, "a dog", output_type="pt"), edited) < 1e-6
    assert len(freed) == 4
    assert all(hasattr(getattr(pipe, n), "_hf_hook") for n in ("vae", "text_encoder", name_of_network(pipe)))


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_sent_away_after_a_failure_too(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    freed: list[int] = []
    pipe.maybe_free_model_hooks = lambda: freed.append(1)

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        editor.invert(latents=start(editor, 1), config=FEW, progress=stop)
    assert len(freed) == 1
    inversion = editor.invert(latents=start(editor, 1), config=FEW)
    with pytest.raises(KeyboardInterrupt):
        editor.edit(inversion, "a dog", progress=stop)
    assert len(freed) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_tiled_autoencoder(name: str, picture: Image.Image) -> None:
    pipe: Any = BUILDERS[name]()
    editor, vae = Editor(pipe), pipe.vae
    whole = editor.encode(picture, fit="keep")
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = 32, 8
    tiled = editor.encode(picture, fit="keep")
    expected, decoded = through_the_autoencoder(pipe, editor.fit(picture, fit="keep"))
    torch.testing.assert_close(tiled, expected)
    torch.testing.assert_close(editor.decode(tiled, "pt"), decoded)
    assert relative(tiled, whole) > 1e-3


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl"])
def test_sliced_attention(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    expected = editor.invert(latents=start(editor, 1), prompt="a lion", config=FEW)
    editor.pipe.enable_attention_slicing()
    sliced = editor.invert(latents=start(editor, 1), prompt="a lion", config=FEW)
    assert relative(sliced.latents, expected.latents) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_networks(name: str, in_place: bool) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    z_0, config = start(editor, 1), InversionConfig(num_steps=2, renoising=Renoising(1))
    expected = editor.invert(latents=z_0, prompt="a lion", config=config)
    attribute = name_of_network(pipe)
    module = getattr(pipe, attribute)
    if in_place:
        module.compile(backend="eager")
    else:
        setattr(pipe, attribute, torch.compile(module, backend="eager"))
    compiled = Editor(pipe)
    inversion = compiled.invert(latents=z_0, prompt="a lion", config=config)
    assert relative(inversion.latents, expected.latents) < 1e-4
    # An inversion of the one is an inversion of the other.
    setattr(pipe, attribute, module)
    edited = editor.edit(inversion, "a dog", output_type="latent")
    assert relative(compiled.edit(expected, "a dog", output_type="latent"), edited) < 1e-4


@pytest.mark.parametrize(("dtype", "error"), [("float16", 0.02), ("bfloat16", 0.15)])
@pytest.mark.parametrize("name", slow_but(["sd15-ddim"], NAMES))
def test_half_precision_networks_keep_float32_latents(
    name: str, dtype: str, error: float, tmp_path: Path, picture: Image.Image
) -> None:
    BUILDERS[name]().save_pretrained(tmp_path / "model")
    half, full = (Editor.from_pretrained(tmp_path / "model", device="cpu", dtype=d) for d in (dtype, "float32"))
    config = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(2))
    z_0 = full.encode(picture, fit="keep")
    inversion = half.invert(latents=z_0, prompt="a lion", config=config)
    expected = full.invert(latents=z_0, prompt="a lion", config=config)
    assert half.dtype == getattr(torch, dtype)
    assert inversion.latents.dtype == torch.float32
    assert relative(inversion.latents, expected.latents) < error
    # The model is the same one, in another precision.
    assert full.edit(inversion, "a dog", output_type="latent").dtype == torch.float32
    assert relative(half.encode(picture, fit="keep"), z_0) < 3 * error
    height, width = inversion.size
    assert half.edit(inversion, "a dog").size == (width, height)
