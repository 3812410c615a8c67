"""NaN and infinity are errors that name their source, never images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from parity import start
from renoise import Editor, Inversion, InversionConfig, NumericalError, Renoising
from tiny_pipelines import BUILDERS
from written import network_of

NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]

FEW = InversionConfig(num_steps=2, renoising=Renoising(1), guidance_scale=2.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_fails_is_named_with_its_step(name: str, value: float) -> None:
    editor = Editor(BUILDERS[name]())
    calls: list[int] = []

    def spoil(module: Any, inputs: Any, output: Any) -> Any:
        calls.append(1)
        return (torch.full_like(output[0], value),) if len(calls) == 3 else output

    network_of(editor.pipe).register_forward_hook(spoil)
    config = InversionConfig(num_steps=2, renoising=Renoising(1))
    with pytest.raises(NumericalError, match=r"step 1 of 2, timestep [\d.]+ \(network in float32\); use more steps"):
        editor.invert(latents=start(editor, 1), config=config)


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_that_fails_is_no_image(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    inversion = editor.invert(latents=start(editor, 1), config=InversionConfig(num_steps=2, renoising=Renoising(0)))
    network_of(editor.pipe).register_forward_hook(lambda m, i, o: (o[0] * float("nan"),))
    with pytest.raises(NumericalError, match="step 1 of 2"):
        editor.edit(inversion, "a dog")


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


@pytest.mark.parametrize("where", ["latents", "noise"])
def test_numbers_from_outside_are_not_blamed_on_the_network(where: str) -> None:
    editor = Editor(BUILDERS["sdxl-turbo"]())
    z_0 = start(editor, 1)
    given = {"latents": z_0, "noise": torch.randn(2, *z_0.shape)}
    given[where] = given[where] * float("nan")
    with pytest.raises(NumericalError, match=f"given {where}; give finite values"):
        editor.invert(**given, config=FEW)  # type: ignore[arg-type] # of tensors alone


def test_an_inversion_of_nothing_can_be_saved(tmp_path: Path) -> None:
    editor = Editor(BUILDERS["flux-dev"]())
    inversion = editor.invert(latents=torch.zeros_like(start(editor, 1)), config=FEW)
    inversion.save(tmp_path / "i.safetensors")
    assert torch.isfinite(Inversion.load(tmp_path / "i.safetensors").residuals).all()
