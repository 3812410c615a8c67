"""HunyuanDiT: a transformer with English and Chinese text encoders (Li et al., 2024, arXiv 2405.08748)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding
from renoise.backbones.base import Condition, Embeddings, Request
from renoise.backbones.transformer import TransformerBackbone

if TYPE_CHECKING:
    from torch import Tensor

# The size of the image that training images were cut from, as the pipeline's own call has it, and the side of the
# images that the positions were first learnt on, in pixels.
_ORIGINAL = (1024, 1024)
_BASE = 512
# Its text encoders, with the tokens that its pipeline lets each read.
_READ = (("text_encoder", 77), ("text_encoder_2", 256))


class HunyuanDiTBackbone(TransformerBackbone):
    """HunyuanDiT, which reads each prompt by BERT and by T5."""

    name: ClassVar[str] = "hunyuan-dit"
    title: ClassVar[str] = "HunyuanDiT"
    pipelines: ClassVar[tuple[str, ...]] = ("HunyuanDiTPipeline",)
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    takes_guidance_rescale: ClassVar[bool] = True
    preset: ClassVar[str] = "hunyuan-dit"

    @property
    def reads_at_most(self) -> int | None:
        """See `Backbone.reads_at_most`; BERT's own tokenizer tells how much less it reads."""
        return max(tokens for _, tokens in _READ)

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        import torch

        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        count = len(request.prompts)
        told = {
            "sizes": torch.tensor([[*_ORIGINAL, *request.size, 0, 0]], dtype=torch.float32).repeat(count, 1),
            "style": torch.zeros(count, dtype=torch.long),
        }
        positive, negative = dict(told), dict(told)
        for index, (encoder, limit) in enumerate(_READ):
            text, negative_text, mask, negative_mask = encoding.encoded(
                self, request, guides=guides, text_encoder_index=index, max_sequence_length=limit
            )
            positive |= {encoder: text, f"{encoder}_mask": mask}
            negative |= {encoder: negative_text, f"{encoder}_mask": negative_mask}
        return self.as_condition(
            positive, negative if guides else None, request.guidance_scale, request.guidance_rescale
        )

    def _call(self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings) -> Tensor:
        prediction: Tensor = self.network(
            latents,
            timesteps.to(latents.dtype),
            encoder_hidden_states=embeddings["text_encoder"],
            text_embedding_mask=embeddings["text_encoder_mask"],
            encoder_hidden_states_t5=embeddings["text_encoder_2"],
            text_embedding_mask_t5=embeddings["text_encoder_2_mask"],
            image_meta_size=embeddings["sizes"],
            style=embeddings["style"],
            image_rotary_emb=self._positions(latents),
            return_dict=False,
        )[0]
        return prediction

    def _positions(self, latents: Tensor) -> Any:
        """Return the rotary positions of the patches: the middle of a square grid, stretched to the longer side."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed
        from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

        patch, network = self.latent_multiple, self.network
        grid = (latents.shape[-2] // patch, latents.shape[-1] // patch)
        region = get_resize_crop_region_for_grid(grid, _BASE // self.latent_scale // patch)
        width = network.inner_dim // network.num_heads
        return get_2d_rotary_pos_embed(width, region, grid, device=latents.device, output_type="pt")
