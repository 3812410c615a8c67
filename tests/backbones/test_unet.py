"""Stable Diffusion 1.x, 2.x and SDXL: the network's size, precision and parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from renoise import Editor, InversionConfig, ModelError, Renoising

MakeEditor = Callable[..., Editor]


@pytest.mark.parametrize(("dtype", "error"), [("float16", 0.01), ("bfloat16", 0.1)])
def test_half_precision_networks_keep_float32_latents(data: Path, dtype: str, error: float) -> None:
    editor = Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype=dtype)
    full = Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype="float32")
    config = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(2))
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    inversion = editor.invert(latents=latents, prompt="a lion", config=config)
    expected = full.invert(latents=latents, prompt="a lion", config=config)
    assert inversion.latents.dtype == torch.float32
    assert float((inversion.latents - expected.latents).norm() / expected.latents.norm()) < error


def test_a_network_that_names_no_size_takes_the_pipelines_default(make_editor: MakeEditor) -> None:
    for model, side in (("tiny-sd", 64), ("tiny-sdxl", 128)):
        editor = make_editor(model)
        editor.pipe.unet.register_to_config(sample_size=None)
        assert editor.size == (side * editor.pipe.vae_scale_factor,) * 2
        editor.pipe.unet.register_to_config(sample_size=(16, 24))
        assert editor.size == (16 * editor.pipe.vae_scale_factor, 24 * editor.pipe.vae_scale_factor)


def test_networks_of_different_precision_work_together(make_editor: MakeEditor) -> None:
    editor = make_editor()
    editor.pipe.text_encoder.to(torch.bfloat16)
    config = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)
    assert torch.isfinite(editor.invert(latents=torch.randn(1, 4, 8, 8), config=config).latents).all()


def test_inpainting_networks_are_refused(make_editor: MakeEditor) -> None:
    editor = make_editor()
    editor.pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="inpainting"):
        Editor(editor.pipe)


@pytest.mark.parametrize(("model", "name"), [("tiny-sd", "unet"), ("tiny-sd", "vae"), ("tiny-sdxl", "unet")])
def test_a_missing_component_is_named(make_editor: MakeEditor, model: str, name: str) -> None:
    editor = make_editor(model)
    setattr(editor.pipe, name, None)
    with pytest.raises(ModelError, match=f"no {name}"):
        Editor(editor.pipe)
