"""Stable Diffusion 1.x and 2.x and SDXL: pipelines with a UNet2DConditionModel and an AutoencoderKL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, guided
from renoise.backbones.pipeline import PipelineBackbone, for_each
from renoise.errors import ModelError
from renoise.schedulers.names import DIFFUSION, EDM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.steps import Step

# The numbers that SDXL is told of an image: its original size, its crop and its target size.
TIME_IDS = 6


class StableDiffusionBackbone(PipelineBackbone):
    """SD 1.x and 2.x, with one text encoder that the network attends to."""

    name: ClassVar[str] = "sd"
    title: ClassVar[str] = "Stable Diffusion 1.x and 2.x"
    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
    )
    statistics: ClassVar[tuple[str, ...]] = ()
    turbo_preset: ClassVar[str | None] = "sd-turbo"
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer")
    takes_clip_skip: ClassVar[bool] = True
    takes_guidance_rescale: ClassVar[bool] = True
    # The side, in latent elements, that diffusers' pipelines take for a network that names none.
    default_side: ClassVar[int] = 64

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.require_channels(self.latent_channels)

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`; LCMs that were distilled with guidance take it."""
        return None if _embedding_width(pipe.unet) is None else 8.5

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        return _cross_attention_width(self.network), None

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """See `PipelineBackbone.ip_projections`."""
        if getattr(self.network.config, "encoder_hid_dim_type", None) != "ip_image_proj":
            return ()
        return list(self.network.encoder_hid_proj.image_projection_layers)

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        size = self.network.config.sample_size or self.default_side
        height, width = (size, size) if isinstance(size, int) else size
        return height * self.latent_scale, width * self.latent_scale

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        import torch

        count, embedding_width = len(request.prompts), _embedding_width(self.network)
        # A network with a guidance embedding takes the scale as an input, in place of a second pass.
        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        positive, negative = self._encode_prompts(request, guides)
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, count)
        positive |= shown
        negative |= unshown
        if embedding_width is not None:
            scales = torch.full((count,), request.guidance_scale - 1.0, dtype=torch.float32)
            positive["timestep_cond"] = self.pipe.get_guidance_scale_embedding(scales, embedding_dim=embedding_width)
        return self.as_condition(
            positive, negative if guides else None, request.guidance_scale, request.guidance_rescale
        )

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        return self._run(latents, [step], condition)

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`."""
        return self._run(latents, steps, condition)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return predictions at a step for all latents, or at one for each."""

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            scales = for_each((step.input_scale for step in steps), z)
            timesteps = for_each((step.timestep for step in steps), z)
            prediction: Tensor = self.network(
                (z * scales.view(-1, 1, 1, 1)).to(embeddings["text"].dtype),
                timesteps if len(steps) > 1 else timesteps[0],  # one for all, as pipelines have it, where it is one
                encoder_hidden_states=embeddings["text"],
                timestep_cond=embeddings.get("timestep_cond"),
                added_cond_kwargs=self._added(embeddings),
                return_dict=False,
            )[0]
            return prediction.float()

        return guided(network, latents, condition)

    def _encode_prompts(self, request: Request, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return embeddings of the prompts and, with guidance, of the negative ones."""
        if request.clip_skip is not None and "prompt_embeds" not in request.text_embeds:
            encoding.require_encoders(self, "prompt")
            embeds = encoding.without_last_layers(self.pipe, request.prompts, request.clip_skip, self.device)
            request = replace(request, text_embeds={**request.text_embeds, "prompt_embeds": embeds}, clip_skip=None)
        embedded, negative = encoding.encoded(self, request, guides=guides, num_images_per_prompt=1)
        return {"text": embedded}, {"text": negative}

    def _added(self, embeddings: Embeddings) -> dict[str, Any]:
        """Return what the network takes besides the text."""
        shown = ip_adapter.of(embeddings)
        return {"image_embeds": shown} if shown else {}


class StableDiffusionXLBackbone(StableDiffusionBackbone):
    """SDXL, with two text encoders, a pooled embedding, and the image's size as a condition."""

    name: ClassVar[str] = "sdxl"
    title: ClassVar[str] = "Stable Diffusion XL"
    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    )
    samplers: ClassVar[tuple[str, ...]] = (
        *DIFFUSION,
        *EDM,  # for models that were trained so, as Playground 2.5
    )
    encoders: ClassVar[tuple[str, ...]] = (*StableDiffusionBackbone.encoders, "text_encoder_2", "tokenizer_2")
    default_side: ClassVar[int] = 128
    preset: ClassVar[str] = "sdxl"
    statistics: ClassVar[tuple[str, ...]] = ("latents_mean",)
    turbo_preset: ClassVar[str | None] = "sdxl-turbo"

    def __init__(self, pipe: Any) -> None:
        if _is_refiner(pipe):
            raise ModelError(
                "the pipeline is an SDXL refiner, which only finishes images",
                argument="model",
                remedy="use the base model, such as stabilityai/stable-diffusion-xl-base-1.0",
            )
        super().__init__(pipe)

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`."""
        return None if _embedding_width(pipe.unet) is None else 5.0

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        return _cross_attention_width(self.network), self._added_width(TIME_IDS)

    def _added_width(self, time_ids: int) -> int | None:
        """Return the width of the pooled embedding, if the network is told so many numbers besides."""
        config = self.network.config
        whole, each = config.projection_class_embeddings_input_dim, config.addition_time_embed_dim
        return None if whole is None or each is None else int(whole - time_ids * each)

    def _encode_prompts(self, request: Request, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        # The pipeline's own default for a negative prompt may be zeros, for which no text is read.
        zeros = request.negative_prompts is None and self.pipe.config.get("force_zeros_for_empty_prompt", False)
        tokens, negative, pooled, negative_pooled = encoding.encoded(
            self, request, guides=guides, reads_negative=not zeros, num_images_per_prompt=1
        )
        # The original size, the top-left crop and the target size: the whole image, as the pipeline's own call has it.
        sizes = torch.tensor([[*request.size, 0, 0, *request.size]], dtype=tokens.dtype).repeat(len(tokens), 1)
        return (
            {"text": tokens, "pooled": pooled, "sizes": sizes},
            {"text": negative, "pooled": negative_pooled, "sizes": sizes},
        )

    def _added(self, embeddings: Embeddings) -> dict[str, Any]:
        added = {"text_embeds": embeddings["pooled"], "time_ids": embeddings["sizes"]}
        return {**super()._added(embeddings), **added}


def _cross_attention_width(unet: Any) -> int | None:
    """Return the width of the text that a UNet attends to; None if its blocks do not agree on one."""
    width = unet.config.cross_attention_dim
    return width if isinstance(width, int) else None


def _is_refiner(pipe: Any) -> bool:
    """Tell whether a pipeline of SDXL is its refiner, by what its network is told of an image: a score for beauty."""
    if pipe.config.get("requires_aesthetics_score"):
        return True
    network, encoder = getattr(pipe, "unet", None), getattr(pipe, "text_encoder_2", None)
    if network is None or encoder is None:
        return False
    # The base is told six numbers, the original size, the crop and the target size; the refiner two sizes and a score.
    config, pooled = network.config, encoder.config.projection_dim
    told = (config.get("projection_class_embeddings_input_dim") or 0) - pooled
    return bool(told > 0 and told == 5 * (config.get("addition_time_embed_dim") or 0))


def _embedding_width(unet: Any) -> int | None:
    """Return the width of the guidance scale's embedding; None for networks other than LCMs, which take none."""
    width: int | None = getattr(getattr(unet, "config", None), "time_cond_proj_dim", None)
    return width
