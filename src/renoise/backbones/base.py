"""What renoise needs of a model family: a few operations behind one protocol.

A family turns images into latents and back, prompts into embeddings, and a latent at a step into the network's raw
output. Nothing outside `renoise.backbones` knows which family it serves. docs/extending.md adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor

from renoise.steps import Step

# What the network is conditioned on; every tensor has the batch as its first dimension.
Embeddings = Mapping[str, Tensor]


@dataclass(frozen=True)
class Request:
    """What the images of a batch shall show, and how strongly.

    Attributes:
        prompts: one for each image.
        negative_prompts: likewise; None is the pipeline's own default.
        guidance_scale: as the family's pipeline takes it: classifier-free guidance where the network has no guidance
            embedding, and that embedding's value where it has one.
        size: (height, width) of the images in pixels.
        true_cfg_scale: classifier-free guidance of models that have another kind of guidance built in; 1 is none.
        image_embeds: of images that an IP-Adapter is shown (see `Backbone.embed_images`); None without one.
    """

    prompts: Sequence[str]
    negative_prompts: Sequence[str] | None
    guidance_scale: float
    size: tuple[int, int]
    true_cfg_scale: float = 1.0
    image_embeds: Sequence[Tensor] | None = None


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


class Schedule(TypedDict, total=False):
    """What a family's pipeline tells its scheduler beside the number of steps (see `renoise.schedulers.steps_for`)."""

    mu: float
    sigmas: Sequence[float]


class Backbone(Protocol):
    """A model family's adapter around the user's pipeline, whose components it shares and never changes."""

    @property
    def flow(self) -> bool:
        """Whether the network predicts the velocity of a flow, which wants a flow-matching sampler."""

    @property
    def takes_true_cfg(self) -> bool:
        """Whether `Request.true_cfg_scale` is a guidance of its own, beside one that is built in."""

    @property
    def ip_adapters(self) -> int:
        """How many IP-Adapters the network carries."""

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was made for."""

    @property
    def latent_scale(self) -> int:
        """Pixels for each latent element along a side."""

    @property
    def latent_multiple(self) -> int:
        """What the sides of a latent must be multiples of: the patch size of a transformer, else 1."""

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
        """Images (B, 3, H, W) in [0, 1] as latents, float32 (B, C, h, w): the mode, not a sample."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) as images, float32 (B, 3, H, W) in [0, 1]."""

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """What a scheduler has to be told to make the timesteps that the family's pipeline would use."""

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """Images for IP-Adapters, as the pipeline takes them, as one tensor (2, ...) for each adapter.

        The first row is the embedding of no image, for guidance; the second is the image's.
        """

    def condition(self, request: Request) -> Condition:
        """Encode the prompts of a batch."""

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
