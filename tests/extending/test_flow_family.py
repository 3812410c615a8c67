"""A made-up flow family and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ModelMixin
from PIL import Image
from torch import Tensor, nn, tensor

from renoise import Editor, InversionConfig, Renoising
from renoise.backbones import FAMILIES
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import ByTokens, Clock


class Weaver(ModelMixin):  # type: ignore[misc] # diffusers has no types
    def __init__(self) -> None:
        super().__init__()
        self.letters, self.weave = nn.Embedding(256, 16), nn.Linear(16, 16)

    def forward(self, tokens: Tensor, t: Tensor, letters: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        return (0.3 * self.weave(tokens) + t.view(-1, 1, 1) * self.letters(letters).unsqueeze(1),)


class WeaverPipeline(DiffusionPipeline):  # type: ignore[misc]
    def __init__(self, weaver: Weaver, vae: AutoencoderKL, scheduler: FlowMatchEulerDiscreteScheduler) -> None:
        super().__init__()
        self.register_modules(weaver=weaver, vae=vae, scheduler=scheduler)
        self.vae_scale_factor, self.default_sample_size = 1, 32

    def encode_prompt(self, prompt: list[str], device: Any) -> Tensor:
        return tensor([ord(text[:1] or " ") % 256 for text in prompt], device=device)


class WeaverBackbone(FlowBackbone):
    name, title, pipelines, components, encoders = "weaver", "Weaver", ("WeaverPipeline",), ("weaver", "vae"), ()
    sign, clock, shift, packed = -1.0, Clock(per=1000.0, rising=True), ByTokens(max_shift=0.9), True

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Any, grid: tuple[int, int]) -> dict[str, Any]:
        return {"tokens": latents, "t": time, "letters": embeddings["text"]}


def test_a_new_flow_family_inverts_and_edits(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "WeaverPipeline", WeaverBackbone)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    editor = Editor(WeaverPipeline(Weaver(), vae, FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)))
    config = InversionConfig(num_steps=8, renoising=Renoising(12), guidance_scale=1.5)
    inversion = editor.invert([picture, picture], ["a lion", "cat"], config=config, fit="pad")
    drawn, z_0 = editor.reconstruct(inversion, "latent"), editor.encode([picture, picture], fit="pad")
    assert torch.linalg.vector_norm(drawn - z_0) < 1e-3 * torch.linalg.vector_norm(z_0)
    assert [edited.size for edited in editor.edit(inversion, "tiger")] == [picture.size] * 2
