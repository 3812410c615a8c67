"""The memory and speed switches of diffusers keep working, and overflow is an error, never a black image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import relative, start, through_the_autoencoder
from renoise import Editor, Inversion, InversionConfig, ModelError, NumericalError, Renoising
from renoise.backbones import autoencoder
from tiny_pipelines import BUILDERS

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]
FEW = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)


def network(pipe: Any) -> tuple[str, Any]:
    name = "unet" if hasattr(pipe, "unet") else "transformer"
    return name, getattr(pipe, name)


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
    assert all(hasattr(getattr(pipe, n), "_hf_hook") for n in ("vae", "text_encoder", network(pipe)[0]))


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


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_networks(name: str, in_place: bool) -> None:
    pipe: Any = BUILDERS[name]()
    editor = Editor(pipe)
    z_0, config = start(editor, 1), InversionConfig(num_steps=2, renoising=Renoising(1))
    expected = editor.invert(latents=z_0, prompt="a lion", config=config)
    attribute, module = network(pipe)
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
@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_fails_is_named_with_its_step(name: str, value: float) -> None:
    editor = Editor(BUILDERS[name]())
    calls: list[int] = []

    def spoil(module: Any, inputs: Any, output: Any) -> Any:
        calls.append(1)
        return (torch.full_like(output[0], value),) if len(calls) == 3 else output

    network(editor.pipe)[1].register_forward_hook(spoil)
    config = InversionConfig(num_steps=2, renoising=Renoising(1))
    with pytest.raises(NumericalError, match=r"step 1 of 2, timestep [\d.]+ \(network in float32\); use more steps"):
        editor.invert(latents=start(editor, 1), config=config)


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_that_fails_is_no_picture(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    inversion = editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=2, renoising=Renoising(0)))
    network(editor.pipe)[1].register_forward_hook(lambda m, i, o: (o[0] * float("nan"),))
    with pytest.raises(NumericalError, match="step 1 of 2"):
        editor.edit(inversion, "a dog")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", NAMES)
def test_an_autoencoder_that_overflows_is_no_black_picture(name: str, value: float, picture: Image.Image) -> None:
    editor = Editor(BUILDERS[name]())
    latents = start(editor, 1)
    for part in ("decoder", "encoder"):
        spoil = getattr(editor.pipe.vae, part).register_forward_hook(lambda m, i, o: o + value)
        with pytest.raises(NumericalError, match=r"autoencoder in float32\); (the latents are out|its weights may)"):
            editor.decode(latents) if part == "decoder" else editor.encode(picture, fit="keep")
        spoil.remove()


def test_a_real_overflow_in_float16_says_what_to_load(tmp_path: Path) -> None:
    BUILDERS["sd15-ddim"]().save_pretrained(tmp_path / "model")
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu", dtype="float16")
    with torch.no_grad():
        editor.pipe.unet.conv_in.weight.mul_(1e4)
        editor.pipe.unet.conv_in.bias.fill_(6e4)
    with pytest.raises(NumericalError, match=r"float16.*bfloat16"):
        editor.invert(latents=start(editor, 1) * 100, config=FEW)


def test_a_text_encoder_that_overflows_is_named() -> None:
    editor = Editor(BUILDERS["sd3"]())
    with torch.no_grad():
        editor.pipe.text_encoder_3.to(torch.float16).encoder.final_layer_norm.weight.fill_(float("nan"))
    with pytest.raises(NumericalError, match=r"text embeddings of the prompts \(text encoders in float16 and float32"):
        editor.invert(latents=start(editor, 1), config=FEW)


def test_an_autoencoder_in_float16_is_told_from_one_in_float32(tmp_path: Path) -> None:
    BUILDERS["sd15-ddim"]().save_pretrained(tmp_path / "model")
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu", dtype="float16")
    editor.pipe.vae.register_to_config(force_upcast=False)
    editor.pipe.vae.decoder.register_forward_hook(lambda m, i, o: torch.full_like(o, 6e4) * 2.0)
    with pytest.raises(NumericalError, match=r"autoencoder in float16\).*pipe.vae.to\(torch.float32\)"):
        editor.decode(start(editor, 1))


@pytest.mark.parametrize("where", ["latents", "noise"])
def test_numbers_from_outside_are_not_blamed_on_the_network(where: str) -> None:
    editor = Editor(BUILDERS["sdxl-turbo"]())
    z_0 = start(editor, 1)
    given = {"latents": z_0, "noise": torch.randn(2, *z_0.shape)}
    given[where] = given[where] * float("nan")
    with pytest.raises(NumericalError, match=f"given {where}; give finite values"):
        editor.invert(**given, config=FEW)  # type: ignore[arg-type] # of tensors alone


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


def test_cached_blocks_are_refused() -> None:
    from diffusers import FirstBlockCacheConfig

    editor = Editor(BUILDERS["flux-dev"]())
    editor.pipe.transformer.enable_cache(FirstBlockCacheConfig(0.2))
    with pytest.raises(ModelError, match=r"transformer.disable_cache\(\)"):
        editor.invert(latents=start(editor, 1), config=FEW)
    editor.pipe.transformer.disable_cache()
    assert editor.invert(latents=start(editor, 1), config=FEW).num_steps == 2


def test_an_inversion_of_nothing_can_be_saved(tmp_path: Path) -> None:
    editor = Editor(BUILDERS["flux-dev"]())
    inversion = editor.invert(latents=torch.zeros_like(start(editor, 1)), config=FEW)
    inversion.save(tmp_path / "i.safetensors")
    assert torch.isfinite(Inversion.load(tmp_path / "i.safetensors").residuals).all()
