"""PixArt-alpha and PixArt-sigma: transformers that predict the noise (Chen et al., 2023, arXiv 2310.00426)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from renoise.backbones import encoding
from renoise.backbones.base import Condition, Embeddings, Request
from renoise.backbones.transformer import TransformerBackbone

if TYPE_CHECKING:
    from torch import Tensor


class PixArtBackbone(TransformerBackbone):
    """PixArt with T5's embeddings; the large models of alpha are told the size of the image as well."""

    name: ClassVar[str] = "pixart"
    title: ClassVar[str] = "PixArt-alpha and PixArt-sigma"
    pipelines: ClassVar[tuple[str, ...]] = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer")
    preset: ClassVar[str] = "pixart"

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`; prompts are cleaned as the pipeline's own call does it."""
        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        if request.negative_prompts is None:
            request = replace(request, negative_prompts=[""] * len(request.prompts))
        text, mask, negative_text, negative_mask = encoding.encoded(self, request, guides=guides, clean_caption=True)
        told = self._told(request)
        negative = {"text": negative_text, "mask": negative_mask, **told} if guides else None
        return self.as_condition({"text": text, "mask": mask, **told}, negative, request.guidance_scale)

    def _told(self, request: Request) -> dict[str, Tensor]:
        """Return what the network is told of the size of the images, if it is told any of it."""
        import torch

        if not self.network.use_additional_conditions:
            return {}
        count, (height, width) = len(request.prompts), request.size
        return {
            "resolution": torch.tensor([[float(height), float(width)]]).repeat(count, 1),
            "aspect_ratio": torch.tensor([[height / width]]).repeat(count, 1),
        }

    def _call(self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings) -> Tensor:
        told = {name: embeddings.get(name) for name in ("resolution", "aspect_ratio")}
        prediction: Tensor = self.network(
            latents,
            encoder_hidden_states=embeddings["text"],
            encoder_attention_mask=embeddings["mask"],
            timestep=timesteps,
            added_cond_kwargs=told,
            return_dict=False,
        )[0]
        return prediction
