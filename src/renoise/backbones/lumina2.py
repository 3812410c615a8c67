"""Lumina-Image 2.0 (Qin et al., 2025, arXiv 2503.21758): a flow transformer told by Gemma, with a system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import ragged
from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone

if TYPE_CHECKING:
    from torch import Tensor


class Lumina2Backbone(FlowBackbone):
    """Lumina 2, whose pipeline brings each row of a guided prediction to the length of the prompt's alone."""

    name: ClassVar[str] = "lumina2"
    title: ClassVar[str] = "Lumina 2"
    pipelines: ClassVar[tuple[str, ...]] = ("Lumina2Pipeline",)
    preset: ClassVar[str] = "lumina2"
    sign: ClassVar[float] = -1.0
    restores: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text", "mask", "negative_text", "negative_mask")

    @property
    def positions(self) -> int | None:
        """See `FlowBackbone.positions`; the network's first axis is that of the text."""
        return int(min(self.network.config.axes_lens[1:]))

    def tokens(self, size: tuple[int, int]) -> int:
        """See `FlowBackbone.tokens`; where a schedule is shifted by size, the pipeline counts the latent's channels."""
        return self.latent_channels

    def around(self, encoder: str, *, negative: bool) -> str:
        """See `Backbone.around`; a system's prompt comes before each prompt, but not before negative ones."""
        return "" if negative else f"{self.pipe.system_prompt} <Prompt Start> "

    def time(self, timesteps: Tensor) -> Tensor:
        """See `FlowBackbone.time`; the scheduler says how many timesteps there are."""
        trained = int(self.pipe.scheduler.config.num_train_timesteps)
        return 1.0 - timesteps / trained

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        return {
            "hidden_states": latents,
            "timestep": time,
            "encoder_hidden_states": embeddings[ragged.TEXT],
            "encoder_attention_mask": embeddings[ragged.MASK],
        }
