"""Autoencoders: the mode of the latents, a precision that does not overflow, and errors where one does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, start, theirs
from renoise import Editor, NumericalError, images
from renoise.backbones import autoencoder
from tiny_pipelines import BUILDERS

MakeEditor = Callable[..., Editor]


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


@pytest.mark.parametrize(
    "name", ["sd15-ddim", "sdxl", "kolors", "pixart-sigma-ddim", "hunyuan-dit", "cogview4", "aura-flow", "sana", "sd3"]
)
def test_statistics_count_where_the_pipeline_uses_them(name: str) -> None:
    pipe: Any = BUILDERS[name]()
    channels = autoencoder.channels(pipe.vae)
    if name != "sd3":  # of which no autoencoder has both
        pipe.vae.register_to_config(latents_mean=[0.5] * channels, latents_std=[2.0] * channels)
    pipe.vae.register_to_config(shift_factor=0.5)
    editor = Editor(pipe)
    latents, own = start(editor, 1), {"guidance_scale": 1.0}
    expected = theirs(pipe, latents, PROMPTS[:1], output_type="pt", **own)
    drawn = editor.decode(ours(editor, latents, PROMPTS[:1], None, **own), "pt")
    torch.testing.assert_close(drawn, expected.float().clamp(0, 1), rtol=1e-3, atol=1e-4)


def test_a_float16_autoencoder_that_overflows_runs_in_float32(data: Path, picture: Image.Image) -> None:
    half = Editor.from_pretrained(data / "tiny-sdxl", device="cpu", dtype="float16")
    half.pipe.vae.register_to_config(force_upcast=True)
    seen: list[torch.dtype] = []
    half.pipe.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    latents = half.encode(picture)
    assert seen == [torch.float32]
    assert half.pipe.vae.dtype == torch.float16
    assert latents.dtype == torch.float32


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


NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", NAMES)
def test_an_autoencoder_that_overflows_is_no_black_image(name: str, value: float, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    latents = start(editor, 1)
    for part in ("decoder", "encoder"):
        spoil = getattr(editor.pipe.vae, part).register_forward_hook(lambda m, i, o: o + value)
        with pytest.raises(NumericalError, match=r"autoencoder in float32\); (the latents are out|its weights may)"):
            editor.decode(latents) if part == "decoder" else editor.encode(picture, fit="keep")
        spoil.remove()


def test_an_autoencoder_in_float16_is_told_from_one_in_float32(tmp_path: Path) -> None:
    BUILDERS["sd15-ddim"]().save_pretrained(tmp_path / "model")
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu", dtype="float16")
    editor.pipe.vae.register_to_config(force_upcast=False)
    editor.pipe.vae.decoder.register_forward_hook(lambda m, i, o: torch.full_like(o, 6e4) * 2.0)
    with pytest.raises(NumericalError, match=r"autoencoder in float16\).*pipe.vae.to\(torch.float32\)"):
        editor.decode(start(editor, 1))


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_of_an_autoencoder_get_their_precision_back(fails: bool) -> None:
    vae: Any = BUILDERS["sdxl"]().vae.half()
    vae.register_buffer("scale_of_latents", torch.ones(3, dtype=torch.float16))
    before = {name: t.dtype for name, t in [*vae.named_parameters(), *vae.named_buffers()]}
    if fails:
        vae.decoder.register_forward_hook(lambda m, i, o: o * float("nan"))
        with pytest.raises(NumericalError):
            autoencoder.decode(vae, torch.zeros(1, 4, 4, 4), torch.device("cpu"))
    else:
        autoencoder.decode(vae, torch.zeros(1, 4, 4, 4), torch.device("cpu"))
    assert {name: t.dtype for name, t in [*vae.named_parameters(), *vae.named_buffers()]} == before
