"""Stable Diffusion 1.x and 2.x and SDXL: pipelines with a UNet2DConditionModel and an AutoencoderKL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, guided
from renoise.backbones.pipeline import PipelineBackbone
from renoise.errors import ModelError
from renoise.schedulers.names import DIFFUSION, EDM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.steps import Step


class StableDiffusionBackbone(PipelineBackbone):
    """SD 1.x and 2.x, with one text encoder that the network attends to."""

    name: ClassVar[str] = "sd"
    title: ClassVar[str] = "Stable Diffusion 1.x and 2.x"
    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "LatentConsistencyModelPipeline",
    )
    turbo_preset: ClassVar[str | None] = "sd-turbo"
    components: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer")
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
        guides = request.guidance_scale > 1.0 and embedding_width is None
        positive, negative = self._encode_prompts(request, guides)
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, count)
        positive |= shown
        negative |= unshown
        if embedding_width is not None:
            scales = torch.full((count,), request.guidance_scale - 1.0, dtype=torch.float32)
            positive["timestep_cond"] = self.pipe.get_guidance_scale_embedding(scales, embedding_dim=embedding_width)
        return self.as_condition(positive, negative if guides else None, request.guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        import torch

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            prediction: Tensor = self.network(
                (z * step.input_scale).to(self.dtype),
                torch.tensor(step.timestep, dtype=torch.float32, device=z.device),
                encoder_hidden_states=embeddings["text"],
                timestep_cond=embeddings.get("timestep_cond"),
                added_cond_kwargs=self._added(embeddings),
                return_dict=False,
            )[0]
            return prediction.float()

        return guided(network, latents, condition)

    def _encode_prompts(self, request: Request, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return embeddings of the prompts and, with guidance, of the negative ones."""
        text, negative_text = self.pipe.encode_prompt(**self._prompts(request, guides))
        return {"text": text}, {"text": negative_text}

    def _prompts(self, request: Request, guides: bool) -> Mapping[str, Any]:
        negatives = request.negative_prompts
        return {
            "prompt": list(request.prompts),
            "device": self.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": guides,
            "negative_prompt": None if negatives is None else list(negatives),
        }

    def _added(self, embeddings: Embeddings) -> dict[str, Any]:
        """Return what the network takes besides the text."""
        shown = ip_adapter.of(embeddings)
        return {"image_embeds": shown} if shown else {}


class StableDiffusionXLBackbone(StableDiffusionBackbone):
    """SDXL, with two text encoders, a pooled embedding, and the image's size as a condition."""

    name: ClassVar[str] = "sdxl"
    title: ClassVar[str] = "Stable Diffusion XL"
    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
    samplers: ClassVar[tuple[str, ...]] = (*DIFFUSION, *EDM)  # EDM's for models that were trained so, as Playground 2.5
    components: ClassVar[tuple[str, ...]] = (
        *StableDiffusionBackbone.components,
        "text_encoder_2",
        "tokenizer_2",
    )
    default_side: ClassVar[int] = 128
    preset: ClassVar[str] = "sdxl"
    turbo_preset: ClassVar[str | None] = "sdxl-turbo"

    def __init__(self, pipe: Any) -> None:
        if _is_refiner(pipe):
            raise ModelError(
                "the pipeline is an SDXL refiner, which only finishes images", remedy="load the base model"
            )
        super().__init__(pipe)

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`."""
        return None if _embedding_width(pipe.unet) is None else 5.0

    def _encode_prompts(self, request: Request, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        text, negative_text, pooled, negative_pooled = self.pipe.encode_prompt(**self._prompts(request, guides))
        # The original size, the top-left crop and the target size: the whole image, as the pipeline's own call has it.
        sizes = torch.tensor([[*request.size, 0, 0, *request.size]], dtype=text.dtype).repeat(len(request.prompts), 1)
        return (
            {"text": text, "pooled": pooled, "sizes": sizes},
            {"text": negative_text, "pooled": negative_pooled, "sizes": sizes},
        )

    def _added(self, embeddings: Embeddings) -> dict[str, Any]:
        added = {"text_embeds": embeddings["pooled"], "time_ids": embeddings["sizes"]}
        return {**super()._added(embeddings), **added}


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
