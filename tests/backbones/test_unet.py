"""Our network call is the pipeline's own: the same latents come out of the same noise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError, Renoising, images
from renoise.fingerprint import fingerprint, same_model

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


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
def test_encoding_takes_the_mode_and_decoding_is_the_pipelines(
    make_editor: MakeEditor, picture: Image.Image, model: str
) -> None:
    editor = make_editor(model)
    vae = editor.pipe.vae
    pixels = editor.pipe.image_processor.preprocess(editor.fit(picture))
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        torch.testing.assert_close(editor.encode(picture), expected)
        decoded = vae.decode(expected / vae.config.scaling_factor).sample
    torch.testing.assert_close(editor.decode(expected, "pt"), (decoded / 2 + 0.5).clamp(0, 1))


def test_latent_statistics_are_honoured(make_editor: MakeEditor, picture: Image.Image) -> None:
    editor = make_editor("tiny-sdxl")
    plain = editor.encode(picture)
    mean, deviation = [0.1, -0.2, 0.3, 0.0], [2.0, 1.0, 0.5, 3.0]
    editor.pipe.vae.register_to_config(latents_mean=mean, latents_std=deviation)
    scale = editor.pipe.vae.config.scaling_factor
    m, d = (torch.tensor(x).view(1, 4, 1, 1) for x in (mean, deviation))
    standardised = editor.encode(picture)
    torch.testing.assert_close(standardised, (plain / scale - m) * scale / d)
    plain_again = editor.decode(standardised, "pt")
    editor.pipe.vae.register_to_config(latents_mean=None, latents_std=None)
    torch.testing.assert_close(plain_again, editor.decode(plain, "pt"))


def test_a_float16_autoencoder_that_overflows_runs_in_float32(data: Path, picture: Image.Image) -> None:
    half = Editor.from_pretrained(data / "tiny-sdxl", device="cpu", dtype="float16")
    half.pipe.vae.register_to_config(force_upcast=True)
    seen: list[torch.dtype] = []
    half.pipe.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    latents = half.encode(picture)
    assert seen == [torch.float32]
    assert half.pipe.vae.dtype == torch.float16
    assert latents.dtype == torch.float32


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


def test_one_autoencoder_in_many_threads(data: Path) -> None:
    half = Editor.from_pretrained(data / "tiny-sdxl", device="cpu", dtype="float16")
    half.pipe.vae.register_to_config(force_upcast=True)
    half.pipe.vae.decoder.mid_block.to(torch.float32)
    dtypes = {name: p.dtype for name, p in half.pipe.vae.named_parameters()}
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = half.decode(latents, "pt")
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: half.decode(latents, "pt"), range(12)))
    assert all(torch.equal(result, expected) for result in results)
    assert {name: p.dtype for name, p in half.pipe.vae.named_parameters()} == dtypes


def test_a_tiny_autoencoder(make_editor: MakeEditor, picture: Image.Image) -> None:
    from diffusers import AutoencoderTiny

    editor = make_editor()
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    editor.pipe.vae = tiny.eval()
    with torch.no_grad():
        expected = tiny.encode(images.to_tensor([editor.fit(picture)]) * 2 - 1).latents * tiny.config.scaling_factor
    torch.testing.assert_close(editor.encode(picture), expected)
    assert editor.decode(expected, "pt").shape[:2] == (1, 3)


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


@pytest.mark.parametrize(
    ("model", "name"), [("tiny-sd", "text_encoder"), ("tiny-sd", "vae"), ("tiny-sdxl", "text_encoder_2")]
)
def test_a_missing_component_is_named(make_editor: MakeEditor, model: str, name: str) -> None:
    editor = make_editor(model)
    setattr(editor.pipe, name, None)
    with pytest.raises(ModelError, match=f"no {name}"):
        Editor(editor.pipe)


def test_fingerprints_tell_models_apart(make_editor: MakeEditor) -> None:
    one, same, other = make_editor(), make_editor(), make_editor("tiny-sdxl")
    assert same_model(fingerprint(one.pipe), fingerprint(same.pipe))
    assert not same_model(fingerprint(one.pipe), fingerprint(other.pipe))
    with torch.no_grad():
        same.pipe.unet.mid_block.resnets[0].conv1.weight.add_(0.01)
        for p in same.pipe.text_encoder.parameters():
            p.add_(0.01)
    assert not same_model(fingerprint(one.pipe), fingerprint(same.pipe))


def test_a_lora_adapter_makes_another_model(make_editor: MakeEditor) -> None:
    from peft import LoraConfig

    one, adapted = make_editor(), make_editor()
    adapted.pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    assert not same_model(fingerprint(one.pipe), fingerprint(adapted.pipe))
    active = fingerprint(adapted.pipe)
    adapted.pipe.unet.disable_adapters()
    assert not same_model(active, fingerprint(adapted.pipe))
