"""What renoise needs of a model family: four operations behind one protocol.

A family turns pictures into latents and back, prompts into embeddings, and a latent at a step into the network's raw
output. Nothing outside `renoise.backbones` knows which family it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from renoise.steps import Step

# What the network is conditioned on; every tensor has the batch as its first dimension.
Embeddings = Mapping[str, Tensor]


@dataclass(frozen=True)
class Condition:
    """A batch of encoded prompts, with their negatives where classifier-free guidance is on.

    Attributes:
        positive: embeddings of the prompts.
        negative: embeddings of the negative prompts; None without guidance.
        guidance_scale: weight of the difference between the two predictions.
    """

    positive: Embeddings
    negative: Embeddings | None = None
    guidance_scale: float = 1.0

    @property
    def passes(self) -> int:
        """Network passes that one prediction costs."""
        return 1 if self.negative is None else 2


class Backbone(Protocol):
    """A model family's adapter around the user's pipeline, whose components it shares and never changes."""

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was made for."""

    @property
    def latent_scale(self) -> int:
        """Pixels for each latent element along a side."""

    @property
    def latent_channels(self) -> int:
        """Channels of a latent, C."""

    @property
    def device(self) -> torch.device:
        """Where the network runs."""

    @property
    def dtype(self) -> torch.dtype:
        """The network's floating-point type; latents are float32 whatever it is."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] as latents, float32 (B, C, h, w): the mode, not a sample."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) as pictures, float32 (B, 3, H, W) in [0, 1]."""

    def condition(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | None,
        guidance_scale: float,
        size: tuple[int, int],
    ) -> Condition:
        """Encode a prompt for each picture; `negative_prompts=None` is the pipeline's own default."""

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """The network's raw output at `latents`, float32 (B, C, h, w), guided if the condition says so."""

    def release(self) -> None:
        """Let the pipeline's offloading hooks move the networks away again."""


def guided(network: Callable[[Tensor, Embeddings], Tensor], latents: Tensor, condition: Condition) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, 2022, arXiv 2207.12598, eq. 6) in one doubled batch."""
    if condition.negative is None:
        return network(latents, condition.positive)
    joined = {name: torch.cat([condition.negative[name], t]) for name, t in condition.positive.items()}
    negative, positive = network(torch.cat([latents, latents]), joined).chunk(2)
    return negative + condition.guidance_scale * (positive - negative)


def wants_guidance(guidance_scale: float, network_config: Any) -> bool:
    """Whether a second, negative pass is due; networks with a guidance embedding take the scale as an input instead."""
    return guidance_scale > 1.0 and getattr(network_config, "time_cond_proj_dim", None) is None
