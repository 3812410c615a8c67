"""FLUX.1 (Black Forest Labs, 2024): a flow transformer over 2 x 2 patches of the latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ip_adapter, packing
from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Clock

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class FluxAdapters(FlowBackbone):
    """The base of families whose networks carry IP-Adapters as FLUX.1 does."""

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """See `PipelineBackbone.ip_projections`."""
        projection = getattr(self.network, "encoder_hid_proj", None)
        return () if projection is None else list(projection.image_projection_layers)

    def _embed(self, images: Any) -> Sequence[Tensor]:
        import numpy as np
        import torch

        # The pipeline takes a black image in place of no image.
        black = [np.zeros((*self.resolution, 3), dtype=np.uint8)] * self.ip_adapters
        unshown, shown = (
            self.pipe.prepare_ip_adapter_image_embeds(each, None, self.device, 1) for each in (black, images)
        )
        # The black image is repeated for each image: equal tokens share the attention that one would have alone.
        return [
            torch.cat([none.expand(-1, image.shape[1], *none.shape[2:]), image])
            for none, image in zip(unshown, shown, strict=True)
        ]


class FluxBackbone(FluxAdapters):
    """Flux dev, whose guidance scale is an input of the network, and schnell, which has none.

    True classifier-free guidance is a second pass with a negative prompt, asked for by `true_cfg_scale`.
    """

    name: ClassVar[str] = "flux"
    title: ClassVar[str] = "FLUX.1"
    pipelines: ClassVar[tuple[str, ...]] = ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline")
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    takes_true_cfg: ClassVar[bool] = True
    leaves_levels: ClassVar[tuple[str, ...]] = ("FluxPipeline",)
    preset: ClassVar[str] = "flux"
    clock: ClassVar[Clock] = Clock(per=1000.0)
    packed: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text", "pooled")
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"prompt_2": None, "max_sequence_length": 512})

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`; schnell takes none."""
        return 3.5 if pipe.transformer.config.guidance_embeds else None

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; schnell, which takes no guidance, draws in a few steps."""
        return cls.preset if pipe.transformer.config.guidance_embeds else "flux-schnell"

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        shown, text = ip_adapter.of(embeddings), embeddings["text"]
        return {
            "hidden_states": latents,
            "timestep": time,
            "guidance": embeddings.get("guidance"),
            "pooled_projections": embeddings["pooled"],
            "encoder_hidden_states": text,
            "txt_ids": text.new_zeros(text.shape[1], 3),
            "img_ids": packing.positions(*grid).to(text.device, text.dtype),
            "joint_attention_kwargs": {"ip_adapter_image_embeds": shown} if shown else {},
        }
