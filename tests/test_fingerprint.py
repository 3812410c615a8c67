"""Fingerprints tell models apart by their weights and adapters, not by names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from renoise import (
    Editor,
)
from renoise.fingerprint import fingerprint, same_model
from tiny_pipelines import BUILDERS, lora
from written import network_of

MakeEditor = Callable[..., Editor]


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


NAMES = ["sd15-ddim", "sdxl", "sd3", "flux-dev"]


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_knows_scales_and_not_names(name: str, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    plain = fingerprint(pipe)
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="one")
    adapted = fingerprint(pipe)
    assert not same_model(adapted, plain)
    pipe.set_adapters(["one"], [0.5])
    assert not same_model(fingerprint(pipe), adapted)
    pipe.disable_lora()
    assert same_model(fingerprint(pipe), plain)
    other: Any = BUILDERS[name]()
    other.load_lora_weights(tmp_path, adapter_name="another_name")
    assert same_model(fingerprint(other), adapted)
    for parameter in (p for n, p in network_of(other).named_parameters() if "lora_B" in n):
        parameter.data.add_(0.1)
    assert not same_model(fingerprint(other), adapted)
