"""Telling what the libraries raise apart: a model that cannot be run, a lack of memory, and what is none of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, InversionConfig, ModelError, Renoising
from renoise.failing import in_network, is_out_of_memory

ONE_STEP = InversionConfig(num_steps=1, renoising=Renoising(0))


class OfAUserError(Exception):
    """An error that no library knows."""


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [TypeError("two\nlines"), RuntimeError("mat1 and mat2"), IndexError("out of range"), KeyError("x")]
)
def test_what_a_network_raises_is_a_model_that_cannot_be_run(error: Exception) -> None:
    with pytest.raises(ModelError, match="cannot be run: its autoencoder fails") as told, in_network("autoencoder"):
        raise error
    assert type(error).__name__ in str(told.value)
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        KeyboardInterrupt(),
        TimeoutError(),
        OfAUserError(),
        ConfigError("as it is"),
    ],
)
def test_what_is_no_fault_of_the_model_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as told, in_network("autoencoder"):
        raise error
    assert told.value is error


def test_a_lack_of_memory_is_known_on_every_device() -> None:
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("part", "method", "what"),
    [("vae", "encode", "autoencoder"), ("text_encoder", "forward", "text encoder"), ("unet", "forward", "denoising")],
)
def test_each_part_of_a_model_that_fails_is_named(
    editor: Editor, picture: Image.Image, monkeypatch: pytest.MonkeyPatch, part: str, method: str, what: str
) -> None:
    monkeypatch.setattr(editor.pipe.components[part], method, raising(RuntimeError("shapes")))
    with pytest.raises(ModelError, match=f"cannot be run: its {what}"):
        editor.invert(picture, "a cat", config=ONE_STEP)


def test_a_decoder_that_fails_is_named(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor.pipe.vae, "decode", raising(TypeError("no such argument")))
    with pytest.raises(ModelError, match="its autoencoder fails"), torch.no_grad():
        editor.model.decode(torch.zeros(1, 4, 8, 8))


def test_what_a_users_own_code_raises_passes(editor: Editor, picture: Image.Image) -> None:
    mine = RuntimeError("mine")
    with pytest.raises(RuntimeError, match="mine") as told:
        editor.invert(picture, "a cat", config=ONE_STEP, progress=raising(mine))
    assert told.value is mine


def test_a_compiler_that_fails_is_told_apart() -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise OSError("No working C++ compiler found")

    network = torch.compile(lambda x: 2.0 * x, backend=no_compiler)
    message = r"cannot be compiled .*No working C\+\+.*install a C\+\+ compiler .* leave out compile=True"
    with pytest.raises(ModelError, match=message), in_network("denoising network"):
        network(torch.zeros(1, 2))
