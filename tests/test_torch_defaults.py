"""What a program sets globally in torch and numpy decides no result: it is the same, bit by bit."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from renoise import Editor
from renoise.schedulers import SUPPORTED, describe, exchanged, restore, steps_for
from renoise.torch_defaults import standard
from tiny_pipelines import BUILDERS
from written import folder_of

DTYPES = (torch.float16, torch.bfloat16, torch.float64)
TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in SUPPORTED),
    ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("DDPMScheduler", {"beta_schedule": "sigmoid"}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_exponential_sigmas": True}),
    ("EDMEulerScheduler", {"sigma_schedule": "exponential"}),
]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def strict_numpy() -> Iterator[None]:
    with np.errstate(all="raise"), np.printoptions(precision=1):
        yield


GLOBALS: dict[str, Callable[[], Any]] = {
    **{str(dtype): partial(default_dtype, dtype) for dtype in DTYPES},
    "device": default_device,
    "deterministic": deterministic,
    "numpy": strict_numpy,
}


@pytest.mark.parametrize("state", GLOBALS)
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_steps_are_the_same(name: str, settings: dict[str, Any], state: str) -> None:
    cls = getattr(diffusers, name)
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls(**{k: v for k, v in {**TABLE, **settings}.items() if k in known})
    expected = steps_for(scheduler, 7)
    with GLOBALS[state]():
        assert steps_for(scheduler, 7) == expected
        assert steps_for(restore(describe(scheduler)), 7) == expected
        assert steps_for(exchanged(scheduler, name), 7) == expected


PIPELINES = ("lcm", "sdxl-turbo", "sd3-no-t5", "flux-dev")


def drawn(editor: Editor) -> list[torch.Tensor]:
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    config = editor.config(num_steps=2, iterations=1, edit_losses=True)
    prepared = editor.prepare(image, fit="keep")
    inversion = editor.invert(prepared, "a cat", config=config)
    again = editor.reconstruct(inversion, "latent")
    quality = editor.quality(prepared, editor.decode(again, "pt"))
    edited = editor.edit(inversion, "a dog", guidance_scale=2.0, num_steps=3, output_type="latent")
    numbers = torch.tensor([quality[0].image, quality[0].round_trip], dtype=torch.float64, device="cpu")
    return [inversion.latents, again, edited, numbers]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::renoise.errors.RenoiseWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_results_are_the_same(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    expected = drawn(editor)
    for state in ("torch.bfloat16", "device", "numpy"):
        with GLOBALS[state]():
            for found, meant in zip(drawn(editor), expected, strict=True):
                assert found.dtype == meant.dtype
                assert torch.equal(found, meant), state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sd3-no-t5"])
def test_a_model_is_loaded_the_same(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path)
    expected = drawn(Editor.from_pretrained(folder, device="cpu"))
    with default_dtype(torch.bfloat16):
        for found, meant in zip(drawn(Editor.from_pretrained(folder, device="cpu")), expected, strict=True):
            assert torch.equal(found, meant)


def test_what_was_set_comes_back_whatever_happens_and_however_it_is_nested() -> None:
    with default_dtype(torch.float64):
        with standard(), standard():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64
        with pytest.raises(ZeroDivisionError), standard():
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64


def test_threads_share_the_defaults_until_the_last_is_done() -> None:
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with standard():
            entered.set()
            leave.wait(10)
            seen.append(torch.get_default_dtype())

    with default_dtype(torch.float64):
        thread = threading.Thread(target=other)
        with standard():
            thread.start()
            assert entered.wait(10)
        leave.set()
        thread.join(10)
        assert seen == [torch.float32]
