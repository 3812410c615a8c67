"""Krea 2 (Krea, 2026): a single-stream flow transformer that reads several layers of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import packing
from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import ByTokens, Fixed, Shift

if TYPE_CHECKING:
    from torch import Tensor


class Krea2Backbone(FlowBackbone):
    """Krea 2, whose guidance adds the scale times the difference, and its distilled Turbo."""

    name: ClassVar[str] = "krea2"
    title: ClassVar[str] = "Krea 2"
    pipelines: ClassVar[tuple[str, ...]] = ("Krea2Pipeline",)
    preset: ClassVar[str] = "krea2"
    unguided: ClassVar[float] = 0.0
    shift: ClassVar[Shift | None] = ByTokens(max_tokens=6400)
    packed: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text", "mask")
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"max_sequence_length": 512})

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; a pipeline says whether its model is distilled to a few steps."""
        return "krea2-turbo" if pipe.config.get("is_distilled") else cls.preset

    def shift_rule(self) -> Shift | None:
        """See `FlowBackbone.shift_rule`; schedules of distilled models do not depend on the size."""
        return Fixed(1.15) if self.pipe.config.get("is_distilled") else self.shift

    def around(self, encoder: str, *, negative: bool) -> str:
        """See `Backbone.around`; what follows the prompt takes tokens of its length, and what precedes it does not."""
        suffix: str = self.pipe.prompt_template_encode_suffix
        return suffix

    def time(self, timesteps: Tensor) -> Tensor:
        """See `FlowBackbone.time`; the scheduler says how many timesteps there are."""
        trained = int(self.pipe.scheduler.config.num_train_timesteps)
        return timesteps / trained

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`; all tokens of the text are at the origin."""
        import torch

        text = embeddings["text"]
        image = packing.positions(*grid).to(text.device)
        return {
            "hidden_states": latents,
            "encoder_hidden_states": text,
            "timestep": time,
            "position_ids": torch.cat([image.new_zeros(text.shape[1], 3), image]),
            "encoder_attention_mask": embeddings["mask"].bool(),
        }
