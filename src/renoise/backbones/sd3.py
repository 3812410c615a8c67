"""Stable Diffusion 3 and 3.5: a transformer that predicts a flow's velocity (Esser et al., 2024, arXiv 2403.03206)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from renoise.backbones import flow, ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, Schedule, guided, refuse_true_cfg
from renoise.backbones.pipeline import PipelineBackbone
from renoise.errors import ConfigError
from renoise.steps import Step

# The mu that the pipeline gives a schedule shifted by the picture's size, where the scheduler names no other.
_MAX_SHIFT = 1.16


class StableDiffusion3Backbone(PipelineBackbone):
    """SD3 and SD3.5; the T5 encoder, text_encoder_3, may be left out, as diffusers allows."""

    components: ClassVar[tuple[str, ...]] = ("transformer", "vae", "text_encoder", "text_encoder_2")

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.pipe.default_sample_size) * self.latent_scale
        return side, side

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return int(self.network.config.patch_size)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        if not scheduler.config.get("use_dynamic_shifting"):
            return {}
        return {"mu": flow.shift_for(scheduler, self._tokens(size), _MAX_SHIFT)}

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """See `Backbone.embed_images`."""
        if not self._adapters:
            return super().embed_images(images)
        return tuple(ip_adapter.embed(self.pipe, images, self.device))

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        refuse_true_cfg(request)
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
        shown, unshown = ip_adapter.rows(request.image_embeds, self._adapters, len(request.prompts))
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

    @property
    def _adapters(self) -> int:
        return int(getattr(self.network, "image_proj", None) is not None)

    def _tokens(self, size: tuple[int, int]) -> int:
        patch = self.latent_scale * self.latent_multiple
        return (size[0] // patch) * (size[1] // patch)

    def _require_within_positions(self, size: tuple[int, int]) -> None:
        most = int(self.network.config.pos_embed_max_size) * self.latent_scale * self.latent_multiple
        if max(size) > most:
            raise ConfigError(
                f"the picture is {size[1]} x {size[0]} pixels, but the model has positions for {most} along a side; "
                'use a smaller picture, or fit="crop"'
            )
