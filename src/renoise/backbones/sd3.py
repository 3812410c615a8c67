"""Stable Diffusion 3 and 3.5: a transformer that predicts a flow's velocity (Esser et al., 2024, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ip_adapter
from renoise.backbones.base import Embeddings, Request
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import ByTokens, Shift

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class StableDiffusion3Backbone(FlowBackbone):
    """SD3 and SD3.5; the T5 encoder, text_encoder_3, may be left out, as diffusers allows."""

    name: ClassVar[str] = "sd3"
    title: ClassVar[str] = "Stable Diffusion 3 and 3.5"
    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
    )
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    takes_clip_skip: ClassVar[bool] = True
    preset: ClassVar[str] = "sd3"
    shift: ClassVar[Shift | None] = ByTokens(max_shift=1.16)
    even_sigmas: ClassVar[bool] = False
    encodes: ClassVar[tuple[str, ...]] = ("text", "negative_text", "pooled", "negative_pooled")

    @property
    def positions(self) -> int | None:
        """See `FlowBackbone.positions`."""
        return int(self.network.config.pos_embed_max_size)

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """See `PipelineBackbone.ip_projections`."""
        projection = getattr(self.network, "image_proj", None)
        return () if projection is None else (projection,)

    def reading(self, request: Request) -> Mapping[str, Any]:
        """See `FlowBackbone.reading`."""
        more: dict[str, Any] = {"prompt_2": None, "prompt_3": None}
        if "prompt_embeds" in request.text_embeds:
            # Negative prompts are read in the length of the given embeddings: CLIP's tokens, then T5's.
            beyond = request.text_embeds["prompt_embeds"].shape[1] - self.pipe.tokenizer_max_length
            more["max_sequence_length"] = max(beyond, 1)
        return more

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        shown = ip_adapter.of(embeddings)
        return {
            "hidden_states": latents,
            "timestep": time,
            "encoder_hidden_states": embeddings["text"],
            "pooled_projections": embeddings["pooled"],
            "joint_attention_kwargs": {"ip_adapter_image_embeds": shown[0]} if shown else None,
        }
