"""CogView 4 (Zhipu AI, 2025): a flow transformer told by GLM, and by the sizes of the image as SDXL is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.base import Embeddings, Schedule
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Shift

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ByRoot:
    """Shifts along a straight line in the root of the number of tokens."""

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """See `Shift.mu`.

        Examples:
            >>> ByRoot().mu({}, tokens=4096, num_steps=50)
            3.25
        """
        root = math.sqrt(tokens / config.get("base_image_seq_len", 256))
        return float(root * config.get("max_shift", 0.75) + config.get("base_shift", 0.25))


class CogView4Backbone(FlowBackbone):
    """CogView 4, whose network is told whole timesteps before the shift, which its noise levels alone follow.

    Texts are padded to a multiple of 16 tokens and have no mask, so that those of prompts and of negative prompts may
    differ in length.
    """

    name: ClassVar[str] = "cogview4"
    title: ClassVar[str] = "CogView 4"
    pipelines: ClassVar[tuple[str, ...]] = ("CogView4Pipeline",)
    statistics: ClassVar[tuple[str, ...]] = ()
    preset: ClassVar[str] = "cogview4"
    one_length: ClassVar[bool] = False
    shift: ClassVar[Shift | None] = ByRoot()
    encodes: ClassVar[tuple[str, ...]] = ("text", "negative_text")

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        return int(self.network.config.text_embed_dim), None

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.network.config.sample_size) * self.latent_scale
        return side, side

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`; the timesteps are evenly spaced, and cut to whole numbers."""
        import numpy as np

        trained = int(scheduler.config.num_train_timesteps)
        timesteps = [float(int(t)) for t in np.linspace(trained, 1.0, num_steps)]
        told = super().schedule(scheduler, num_steps, size)
        return {**told, "timesteps": timesteps, "sigmas": [t / trained for t in timesteps]}

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`; images were not scaled or cropped, as far as the network is told."""
        text = embeddings["text"]
        size = text.new_tensor([side * self.latent_multiple * self.latent_scale for side in grid])
        size = size.expand(len(latents), -1)
        return {
            "hidden_states": latents,
            "timestep": time,
            "encoder_hidden_states": text,
            "original_size": size,
            "target_size": size,
            "crop_coords": size.new_zeros(size.shape),
        }
