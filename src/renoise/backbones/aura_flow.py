"""AuraFlow (fal, 2024): a flow transformer with positions that were learnt, told by Pile-T5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Clock, Shift

if TYPE_CHECKING:
    from torch import Tensor


class AuraFlowBackbone(FlowBackbone):
    """AuraFlow, whose text is multiplied by its mask before the network sees it."""

    name: ClassVar[str] = "aura-flow"
    title: ClassVar[str] = "AuraFlow"
    pipelines: ClassVar[tuple[str, ...]] = ("AuraFlowPipeline",)
    statistics: ClassVar[tuple[str, ...]] = ()
    preset: ClassVar[str] = "aura-flow"
    clock: ClassVar[Clock] = Clock(per=1000.0)
    shift: ClassVar[Shift | None] = None
    even_sigmas: ClassVar[bool] = False
    encodes: ClassVar[tuple[str, ...]] = ("text", "", "negative_text")

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`; it is less where the network has no positions for as much."""
        side = min(*super().resolution, self.positions * self.latent_scale * self.latent_multiple)
        return side, side

    @property
    def positions(self) -> int:
        """See `FlowBackbone.positions`, which are those of a square."""
        return math.isqrt(self.network.config.pos_embed_max_size)

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        return {"hidden_states": latents, "timestep": time, "encoder_hidden_states": embeddings["text"]}
