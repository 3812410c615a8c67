"""Z-Image and Z-Image-Turbo (Z-Image team, 2025, arXiv 2511.22699): a single-stream flow transformer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, ragged
from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Clock

if TYPE_CHECKING:
    from torch import Tensor

# The shift of the schedule with which Turbo is published; Z-Image itself has 6.
_TURBO_SHIFT = 3.0


class ZImageBackbone(FlowBackbone):
    """Z-Image, whose guidance adds the scale times the difference, and Turbo, which is drawn without guidance."""

    name: ClassVar[str] = "z-image"
    title: ClassVar[str] = "Z-Image"
    pipelines: ClassVar[tuple[str, ...]] = ("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline")
    preset: ClassVar[str] = "z-image"
    unguided: ClassVar[float] = 0.0
    sign: ClassVar[float] = -1.0
    clock: ClassVar[Clock] = Clock(per=1000.0, rising=True)
    encodes: ClassVar[tuple[str, ...]] = ("text", "negative_text")
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"max_sequence_length": 512})

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; Turbo tells itself by the shift of its schedule."""
        config = pipe.scheduler.config
        turbo = config.get("shift") == _TURBO_SHIFT and not config.get("use_dynamic_shifting")
        return "z-image-turbo" if turbo else cls.preset

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`; it is what the network's call takes unless it is told otherwise."""
        return self.patch

    @property
    def positions(self) -> int | None:
        """See `FlowBackbone.positions`; the first axis is the text's."""
        return int(min(self.network.config.axes_lens[1:]))

    def around(self, encoder: str, *, negative: bool) -> str:
        """See `Backbone.around`; a prompt is the user's turn of a conversation, of which the end may be cut off."""
        return encoding.before_prompt(self.pipe.tokenizer, enable_thinking=True)

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`; the network takes each image and each prompt by itself."""
        return {
            "x": list(latents.unsqueeze(2).unbind()),
            "t": time,
            "cap_feats": ragged.parted(embeddings[ragged.TEXT], embeddings[ragged.MASK]),
        }

    def output(self, raw: Any) -> Tensor:
        """See `FlowBackbone.output`."""
        import torch

        return torch.stack(raw).squeeze(2)
