"""Stable Diffusion 3 and 3.5: a transformer that predicts a flow's velocity (Esser et al., 2024, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import flow, ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, Schedule, guided
from renoise.errors import Argument, ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.steps import Step


class StableDiffusion3Backbone(flow.FlowBackbone):
    """SD3 and SD3.5; the T5 encoder, text_encoder_3, may be left out, as diffusers allows."""

    name: ClassVar[str] = "sd3"
    title: ClassVar[str] = "Stable Diffusion 3 and 3.5"
    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline")

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.require_channels(self.latent_channels)

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return int(self.network.config.patch_size)

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """See `PipelineBackbone.ip_projections`."""
        projection = getattr(self.network, "image_proj", None)
        return () if projection is None else (projection,)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        return {"mu": self.shift(scheduler, size)} if scheduler.config.get("use_dynamic_shifting") else {}

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        self._require_within_positions(request.size)
        guides = request.guidance_scale > 1.0
        negatives = request.negative_prompts
        text, negative_text, pooled, negative_pooled = self.pipe.encode_prompt(
            prompt=list(request.prompts),
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=guides,
            negative_prompt=None if negatives is None else list(negatives),
        )
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, len(request.prompts))
        positive = {"text": text, "pooled": pooled, **shown}
        negative = {"text": negative_text, "pooled": negative_pooled, **unshown}
        return self.as_condition(positive, negative if guides else None, request.guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            shown = ip_adapter.of(embeddings)
            velocity: Tensor = self.network(
                hidden_states=z.to(self.dtype),
                timestep=flow.timesteps(step, z),
                encoder_hidden_states=embeddings["text"],
                pooled_projections=embeddings["pooled"],
                joint_attention_kwargs={"ip_adapter_image_embeds": shown[0]} if shown else None,
                return_dict=False,
            )[0]
            return velocity.float()

        return guided(network, latents, condition)

    def _require_within_positions(self, size: tuple[int, int]) -> None:
        most = int(self.network.config.pos_embed_max_size) * self.latent_scale * self.latent_multiple
        if max(size) > most:
            raise ConfigError(
                f"the image is {size[1]} x {size[0]} pixels, but the model has positions for {most} along a side",
                remedy=("use a smaller image, or ", Argument("fit", "crop")),
            )
