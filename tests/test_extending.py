"""A made-up model family, and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ModelMixin
from PIL import Image
from torch import Tensor, nn

from renoise import Editor, InversionConfig, ModelError, Renoising
from renoise.backbones import FAMILIES, Condition, Embeddings, PipelineBackbone, Request
from renoise.backbones.base import guided
from renoise.steps import Step


class Painter(ModelMixin):  # type: ignore[misc] # diffusers has no types
    """A network that works on the pixels themselves and knows prompts by their first letter."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.paint = nn.Embedding(256, 3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z: Tensor, t: float, letters: Tensor) -> Tensor:
        painted: Tensor = self.paint(z) + self.letters(letters)[:, :, None, None] * (t / 1000)
        return painted


class PainterPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Its pipeline, as whoever trained it ships it."""

    def __init__(self, painter: Painter, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(painter=painter, scheduler=scheduler)


class PainterBackbone(PipelineBackbone):
    """The new family: all that renoise has to be told."""

    components = ("painter",)
    resolution, latent_scale, latent_channels = (32, 32), 1, 3

    def encode(self, pixels: Tensor) -> Tensor:
        return 2.0 * pixels - 1.0

    def decode(self, latents: Tensor) -> Tensor:
        return (0.5 * latents + 0.5).clamp(0.0, 1.0)

    def condition(self, request: Request) -> Condition:
        negatives = request.negative_prompts or [""] * len(request.prompts)
        positive, negative = (
            {"letters": torch.tensor([ord(p[:1] or " ") % 256 for p in prompts])}
            for prompts in (request.prompts, negatives)
        )
        guides = request.guidance_scale > 1.0
        return self.as_condition(positive, negative if guides else None, request.guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            scaled = (z * step.input_scale).to(self.dtype)
            prediction: Tensor = self.network(scaled, step.timestep, embeddings["letters"])
            return prediction.float()

        return guided(network, latents, condition)


def test_a_new_family_inverts_and_edits(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "PainterPipeline", PainterBackbone)
    editor, other = (Editor(PainterPipeline(Painter(), DDIMScheduler(clip_sample=False))) for _ in range(2))
    config = InversionConfig(num_steps=10, strength=0.5, renoising=Renoising(20), guidance_scale=1.5)
    inversion = editor.invert([picture, picture], ["a lion", "cat"], config=config, fit="pad")
    z_0 = editor.encode([picture, picture], fit="pad")
    torch.testing.assert_close(editor.reconstruct(inversion, "latent"), z_0, rtol=0.0, atol=1e-2)
    assert [edited.size for edited in editor.edit(inversion, "tiger")] == [(100, 80)] * 2
    with pytest.raises(ModelError, match="in its weights"):
        other.edit(inversion, "tiger")
