"""Qwen-Image (Wu et al., 2025, arXiv 2508.02324): a flow transformer told by a vision-language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ragged
from renoise.backbones.base import Embeddings, Schedule
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Clock

if TYPE_CHECKING:
    from torch import Tensor


class QwenImageBackbone(FlowBackbone):
    """Qwen-Image, which is guided by `true_cfg_scale`; a guidance scale is an input of distilled networks alone."""

    name: ClassVar[str] = "qwen-image"
    title: ClassVar[str] = "Qwen-Image"
    pipelines: ClassVar[tuple[str, ...]] = ("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline")
    takes_true_cfg: ClassVar[bool] = True
    preset: ClassVar[str] = "qwen-image"
    clock: ClassVar[Clock] = Clock(per=1000.0)
    packed: ClassVar[bool] = True
    restores: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text", "mask")
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"max_sequence_length": 512})

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`; the pipeline takes none by default, even for distilled networks."""
        return 1.0 if pipe.transformer.config.get("guidance_embeds") else None

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        return {
            "hidden_states": latents,
            "timestep": time,
            "guidance": embeddings.get("guidance"),
            "encoder_hidden_states": embeddings["text"],
            "encoder_hidden_states_mask": ragged.unless_all_count(embeddings["mask"]),
            "img_shapes": [[(1, *grid)]] * len(latents),
            "attention_kwargs": {},
        }


class QwenImage21Backbone(QwenImageBackbone):
    """Qwen-Image 2.1, whose latents are tokens as they are, behind the text in one sequence.

    The pipeline keeps what the text makes of the first step for the later ones, which is the same at every step where
    the network says so. Here every call computes it, because an inversion has no first step to keep it from.
    """

    name: ClassVar[str] = "qwen-image-2.1"
    title: ClassVar[str] = "Qwen-Image 2.1"
    pipelines: ClassVar[tuple[str, ...]] = ("QwenImage21Pipeline",)
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "processor")
    preset: ClassVar[str] = "qwen-image-2.1"
    patch: ClassVar[int] = 1
    restores: ClassVar[bool] = False
    one_length: ClassVar[bool] = False  # an image's place in the sequence depends on the length of its text
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`; the language model has a place for each 2 x 2 tokens."""
        return 2

    def tokens(self, size: tuple[int, int]) -> int:
        """See `FlowBackbone.tokens`."""
        return (size[0] // self.latent_scale) * (size[1] // self.latent_scale)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`; a pipeline may bring noise levels for their number of steps."""
        told, own = super().schedule(scheduler, num_steps, size), self._own_levels()
        return {**told, "sigmas": own} if len(own) == num_steps else told

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        import torch

        text, height_width = embeddings["text"], tuple(side * self.latent_multiple for side in grid)
        places = torch.zeros(text.shape[1] + latents.shape[1] // 4, dtype=torch.bool, device=text.device)
        places[text.shape[1] :] = True
        return {
            "hidden_states": latents,
            "timestep": time,
            "encoder_hidden_states": text,
            "encoder_hidden_states_mask": ragged.unless_all_count(embeddings["mask"]),
            "img_shapes": [[(1, *height_width)]] * len(latents),
            "img_mask": places.expand(len(latents), -1),
            "attention_kwargs": {},
        }

    def _own_levels(self) -> Sequence[float]:
        return tuple(self.pipe.config.get("sample_sigmas") or ())
