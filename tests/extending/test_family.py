"""A made-up model family and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

import pytest
from diffusers import DDIMScheduler, DiffusionPipeline, ModelMixin
from PIL import Image
from torch import Tensor, nn, tensor

from renoise import Editor, InversionConfig, ModelError, Renoising
from renoise.backbones import FAMILIES, Condition, PipelineBackbone, Request, guided
from renoise.steps import Step


class Painter(ModelMixin):  # type: ignore[misc] # diffusers has no types
    def __init__(self) -> None:
        super().__init__()
        self.letters, self.paint = nn.Embedding(256, 3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z: Tensor, t: float, letters: Tensor) -> Tensor:
        return self.paint(z) + self.letters(letters)[:, :, None, None] * (t / 1000)  # type: ignore[no-any-return]


class PainterPipeline(DiffusionPipeline):  # type: ignore[misc]
    def __init__(self, painter: Painter, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(painter=painter, scheduler=scheduler)


class PainterBackbone(PipelineBackbone):
    name, title, pipelines, components = "painter", "Painter", ("PainterPipeline",), ("painter",)
    resolution, latent_scale, latent_channels = (32, 32), 1, 3

    def encode(self, pixels: Tensor) -> Tensor:
        return 2.0 * pixels - 1.0

    def decode(self, latents: Tensor) -> Tensor:
        return (0.5 * latents + 0.5).clamp(0.0, 1.0)

    def condition(self, request: Request) -> Condition:
        negatives = request.negative_prompts or [""] * len(request.prompts)
        letters, none = (tensor([ord(p[:1] or " ") % 256 for p in ps]) for ps in (request.prompts, negatives))
        negative = {"text": none} if request.guidance_scale > 1.0 else None
        return self.as_condition({"text": letters}, negative, request.guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        scale, t = step.input_scale, step.timestep
        return guided(lambda z, e: self.network((z * scale).to(self.dtype), t, e["text"]).float(), latents, condition)


def test_a_new_family_inverts_and_edits(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "PainterPipeline", PainterBackbone)
    editor, other = (Editor(PainterPipeline(Painter(), DDIMScheduler(clip_sample=False))) for _ in range(2))
    config = InversionConfig(num_steps=10, strength=0.5, renoising=Renoising(20), guidance_scale=1.5)
    inversion = editor.invert([picture, picture], ["a lion", "cat"], config=config, fit="pad")
    assert (editor.reconstruct(inversion, "latent") - editor.encode([picture, picture], fit="pad")).abs().max() < 1e-2
    assert [edited.size for edited in editor.edit(inversion, "tiger")] == [(100, 80)] * 2
    with pytest.raises(ModelError, match="in its weights"):
        other.edit(inversion, "tiger")
