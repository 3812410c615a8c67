"""Chroma (Lodestone Rock, 2025): FLUX.1 without its guidance embedding, told by T5 with a mask of the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ip_adapter, packing, ragged
from renoise.backbones.base import Embeddings
from renoise.backbones.flow_facts import Clock
from renoise.backbones.flux import FluxAdapters

if TYPE_CHECKING:
    from torch import Tensor


class ChromaBackbone(FluxAdapters):
    """Chroma, whose text is masked after the first token of padding."""

    name: ClassVar[str] = "chroma"
    title: ClassVar[str] = "Chroma"
    pipelines: ClassVar[tuple[str, ...]] = ("ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline")
    preset: ClassVar[str] = "chroma"
    clock: ClassVar[Clock] = Clock(per=1000.0)
    packed: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text", "", "mask", "negative_text", "", "negative_mask")
    # The pipeline for inpainting has another length by default, which would change predictions a little.
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"max_sequence_length": 512})

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`; the mask goes on over the image's tokens, all of which count."""
        import torch

        shown, text, mask = ip_adapter.of(embeddings), embeddings[ragged.TEXT], embeddings[ragged.MASK]
        return {
            "hidden_states": latents,
            "timestep": time,
            "encoder_hidden_states": text,
            "txt_ids": text.new_zeros(text.shape[1], 3),
            "img_ids": packing.positions(*grid).to(text.device, text.dtype),
            "attention_mask": torch.cat([mask, mask.new_ones(latents.shape[:2])], dim=1),
            "joint_attention_kwargs": {"ip_adapter_image_embeds": shown} if shown else {},
        }
