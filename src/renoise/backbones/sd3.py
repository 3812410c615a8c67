"""Stable Diffusion 3 and 3.5: a transformer that predicts a flow's velocity (Esser et al., 2024, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, flow, ip_adapter
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
    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
    )
    takes_clip_skip: ClassVar[bool] = True

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
        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        more = {}
        if "prompt_embeds" in request.text_embeds:
            # Negative prompts are read in the length of the given embeddings: CLIP's tokens, then T5's.
            beyond = request.text_embeds["prompt_embeds"].shape[1] - self.pipe.tokenizer_max_length
            more["max_sequence_length"] = max(beyond, 1)
        tokens, negative_tokens, pooled, negative_pooled = encoding.encoded(
            self, request, guides=guides, prompt_2=None, prompt_3=None, **more
        )
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, len(request.prompts))
        positive = {"text": tokens, "pooled": pooled, **shown}
        negative = {"text": negative_tokens, "pooled": negative_pooled, **unshown}
        return self.as_condition(positive, negative if guides else None, request.guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        return self._run(latents, [step], condition)

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`."""
        return self._run(latents, steps, condition)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return predictions at a step for all latents, or at one for each."""

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            shown = ip_adapter.of(embeddings)
            velocity: Tensor = self.network(
                hidden_states=z.to(embeddings["text"].dtype),
                timestep=flow.timesteps(steps, z),
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
