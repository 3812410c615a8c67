"""Kolors: SDXL's network with the embeddings of a language model (Kolors Team, 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from renoise.backbones.base import Request
from renoise.backbones.unet import TIME_IDS, StableDiffusionXLBackbone
from renoise.errors import Argument, ConfigError
from renoise.schedulers.names import DIFFUSION

if TYPE_CHECKING:
    from torch import Tensor


class KolorsBackbone(StableDiffusionXLBackbone):
    """Kolors, whose one text encoder is ChatGLM; its last token's state is the pooled embedding."""

    name: ClassVar[str] = "kolors"
    title: ClassVar[str] = "Kolors"
    pipelines: ClassVar[tuple[str, ...]] = ("KolorsPipeline", "KolorsImg2ImgPipeline")
    samplers: ClassVar[tuple[str, ...]] = DIFFUSION
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer")
    statistics: ClassVar[tuple[str, ...]] = ()
    takes_clip_skip: ClassVar[bool] = False
    takes_guidance_rescale: ClassVar[bool] = False
    preset: ClassVar[str] = "kolors"

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`; the network projects the tokens to the width of its attention."""
        return int(self.network.config.encoder_hid_dim), self._added_width(TIME_IDS)

    def _encode_prompts(self, request: Request, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        given = request.negative_prompts is not None or "negative_prompt_embeds" in request.text_embeds
        if guides and not given and self.pipe.config.get("force_zeros_for_empty_prompt", False):
            raise ConfigError(
                "the pipeline is set to take zeros for a negative prompt that is not given, and diffusers' pipelines "
                "of Kolors make no pooled embedding for them",
                argument="negative_prompt",
                remedy=("give ", Argument("negative_prompt"), ", which may be empty"),
            )
        return super()._encode_prompts(request, guides)
