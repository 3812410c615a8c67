"""Training mode: said, left aside while renoise works, and given back; and no global generator is ever moved."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch import nn

from parity import start
from renoise import ConfigError, EditLosses, Editor, InversionConfig, NoiseCorrection, RenoiseWarning, Renoising
from renoise.modes import evaluating, in_training
from tiny_pipelines import BUILDERS

FEW = InversionConfig(num_steps=2, renoising=Renoising(1))


def with_dropout(name: str = "sd15-ddim") -> Any:
    """Return a pipeline whose networks drop activations in training mode, and are in it."""
    pipe: Any = BUILDERS[name]()
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    network.train()
    pipe.text_encoder.config.attention_dropout = 0.5
    for layer in pipe.text_encoder.modules():
        if hasattr(layer, "dropout") and isinstance(layer.dropout, float):
            layer.dropout = 0.5
    pipe.text_encoder.train()
    return pipe


def flags(pipe: Any) -> list[bool]:
    return [m.training for part in pipe.components.values() if isinstance(part, nn.Module) for m in part.modules()]


@contextmanager
def no_generator_moved() -> Iterator[None]:
    before = torch.get_rng_state().clone(), str(np.random.get_state()), random.getstate()
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]
    assert random.getstate() == before[2]


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "sd3", "flux-dev"])
def test_training_mode_is_said_and_changes_nothing(name: str) -> None:
    evaluated, pipe = Editor(BUILDERS[name]()), with_dropout(name)
    editor, modes = Editor(pipe), flags(pipe)
    assert True in modes
    z_0 = start(editor, 1)
    expected = evaluated.invert(latents=z_0, prompt="a", config=FEW)
    with no_generator_moved(), pytest.warns(RenoiseWarning, match=r"in training mode.*call pipe\.\w+\.eval\(\)"):
        found = editor.invert(latents=z_0, prompt="a", config=FEW)
    assert torch.equal(found.latents, expected.latents)
    with no_generator_moved(), pytest.warns(RenoiseWarning, match="text_encoder and .* are in training mode"):
        edited = editor.edit(found, "b", output_type="latent")
    assert torch.equal(edited, evaluated.edit(expected, "b", output_type="latent"))
    assert flags(pipe) == modes


def test_gradient_checkpointing_changes_nothing() -> None:
    pipe: Any = BUILDERS["sd15-ddim"]()
    pipe.unet.train()
    pipe.unet.enable_gradient_checkpointing()
    editor, evaluated = Editor(pipe), Editor(BUILDERS["sd15-ddim"]())
    z_0 = start(editor, 1)
    with pytest.warns(RenoiseWarning, match="unet is in training mode"):
        found = editor.invert(latents=z_0, prompt="a", config=FEW)
    assert torch.equal(found.latents, evaluated.invert(latents=z_0, prompt="a", config=FEW).latents)
    assert pipe.unet.is_gradient_checkpointing
    assert pipe.unet.training


def test_each_module_gets_its_own_mode_back_whatever_happens() -> None:
    pipe = with_dropout()
    pipe.unet.mid_block.eval()
    editor, modes = Editor(pipe), flags(pipe)
    assert False in modes

    def stop(progress: Any) -> None:
        assert not pipe.unet.training
        raise InterruptedError

    with pytest.warns(RenoiseWarning), pytest.raises(InterruptedError):
        editor.invert(latents=start(editor, 1), prompt="a", config=FEW, progress=stop)
    assert flags(pipe) == modes
    with pytest.warns(RenoiseWarning), pytest.raises(ConfigError):
        editor.invert(latents=start(editor, 1), prompt="a", config=FEW, ip_adapter_image_embeds=[torch.zeros(2, 1, 4)])
    assert flags(pipe) == modes


def test_threads_that_share_networks_give_the_modes_back_when_the_last_is_done() -> None:
    pipe = with_dropout()
    modes, inside, leave = flags(pipe), threading.Event(), threading.Event()
    seen: list[bool] = []

    def work() -> None:
        with evaluating(pipe):
            inside.set()
            leave.wait(10.0)
            seen.append(any(flags(pipe)))

    thread = threading.Thread(target=work)
    with evaluating(pipe):
        thread.start()
        inside.wait(10.0)
    assert not any(flags(pipe))
    leave.set()
    thread.join()
    assert seen == [False]
    assert flags(pipe) == modes


def test_adapters_in_training_mode_are_said_only_if_they_draw() -> None:
    for dropout, said in ((0.0, []), (0.1, ["unet"])):
        pipe: Any = BUILDERS["sd15-ddim"]()
        pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], lora_dropout=dropout))
        assert any(module.training for module in pipe.unet.modules())
        assert in_training(pipe) == said
        before = flags(pipe)
        editor = Editor(pipe)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if not said else "ignore", RenoiseWarning)
            inversion = editor.invert(latents=start(editor, 1), prompt="a", config=FEW)
            again = editor.invert(latents=start(editor, 1), prompt="a", config=FEW)
        assert torch.equal(inversion.latents, again.latents)
        assert flags(pipe) == before


@pytest.mark.parametrize("sampler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
def test_no_global_generator_is_moved_or_heard(sampler: str) -> None:
    editor = Editor(BUILDERS["sd15-ddim"]()).with_scheduler(sampler)
    config = InversionConfig(
        num_steps=2, renoising=Renoising(1), edit_losses=EditLosses(), noise_correction=NoiseCorrection(0.5)
    )
    x = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        with no_generator_moved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inversion = editor.invert(x, "a", config=config)
            results.append(editor.edit(inversion, "b", num_steps=3, output_type="latent"))
    assert torch.equal(*results)
