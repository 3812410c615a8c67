"""What renoise needs of a model family: a few operations behind one protocol.

A family turns images into latents and back, prompts into embeddings, and a latent at a step into the network's raw
output. Nothing outside `renoise.backbones` knows which family it serves. docs/extending.md adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.schedulers.names import Kind
    from renoise.steps import Step

# What the network is conditioned on; every tensor has the batch as its first dimension.
Embeddings = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Request:
    """What the images of a batch shall show, and how strongly.

    Attributes:
        prompts: one for each image.
        negative_prompts: one for each image; None means the pipeline's own default.
        guidance_scale: the value that the family's pipeline takes: the scale of classifier-free guidance where the
            network has no guidance embedding, and that embedding's input where it has one.
        size: (height, width) of the images in pixels.
        true_cfg_scale: the scale of classifier-free guidance of models that have another guidance built in; 1 means
            none.
        image_embeds: embeddings of the images that IP-Adapters are shown (see `Backbone.embed_images`); None without
            an adapter.
        text_embeds: embeddings that take the place of prompts or of negative prompts, with a row for each image, by
            the names of diffusers (see `renoise.embeddings`).
        clip_skip: the number of last layers of the CLIP text encoders that are left out; None leaves out none.
        guidance_rescale: see `rescaled`.
    """

    prompts: Sequence[str]
    negative_prompts: Sequence[str] | None
    guidance_scale: float
    size: tuple[int, int]
    true_cfg_scale: float = 1.0
    image_embeds: Sequence[Tensor] | None = None
    text_embeds: Embeddings = field(default_factory=dict)
    clip_skip: int | None = None
    guidance_rescale: float = 0.0


@dataclass(frozen=True)
class Condition:
    """A batch of encoded prompts, with their negatives where classifier-free guidance is on.

    Attributes:
        positive: embeddings of the prompts.
        negative: embeddings of the negative prompts; None without classifier-free guidance.
        guidance_scale: the weight of the difference between the two predictions.
        guidance_rescale: see `rescaled`.
    """

    positive: Embeddings
    negative: Embeddings | None = None
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0

    @property
    def passes(self) -> int:
        """The network passes that one prediction costs."""
        return 1 if self.negative is None else 2

    def of(self, images: Sequence[int]) -> Condition:
        """Return the condition of some of the images, or of several latents of each: a row for each index."""
        import torch

        def picked(embeddings: Embeddings) -> Embeddings:
            return {name: t[torch.tensor(images, device=t.device)] for name, t in embeddings.items()}

        negative = None if self.negative is None else picked(self.negative)
        return replace(self, positive=picked(self.positive), negative=negative)


class Schedule(TypedDict, total=False):
    """What a family's pipeline tells its scheduler besides the number of steps (see `renoise.schedulers.steps_for`)."""

    mu: float
    sigmas: Sequence[float]
    timesteps: Sequence[float]


class Backbone(Protocol):
    """A model family's adapter around the user's pipeline, whose components it shares and never changes."""

    @property
    def flow(self) -> bool:
        """Whether the network predicts the velocity of a flow, so that it needs a flow-matching sampler."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of schedulers that sample its models (see `renoise.schedulers.names.Kind`)."""

    @property
    def takes_true_cfg(self) -> bool:
        """Whether `Request.true_cfg_scale` has an effect, because another guidance is built into the network."""

    @property
    def takes_clip_skip(self) -> bool:
        """Whether `Request.clip_skip` has an effect, because the network reads CLIP's hidden layers."""

    @property
    def takes_guidance_rescale(self) -> bool:
        """Whether the family's pipelines know `Request.guidance_rescale`."""

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """The widths of the embeddings of a prompt's tokens, and of the pooled one.

        A width of None among the two is one that is not known, or a pooled embedding that the network does not take;
        None for both means that the family takes no embeddings in place of prompts.
        """

    @property
    def unguided(self) -> float:
        """The guidance scale that stands for no guidance: 1, or 0 where a scale of 1 adds the difference once."""

    @property
    def reads_at_most(self) -> int | None:
        """The most tokens that the text encoders are given; None is what the pipeline has by default."""

    def around(self, encoder: str, *, negative: bool) -> str:
        """Return what the pipeline puts around a prompt within the tokens that an encoder reads.

        Args:
            encoder: the name of the text encoder among the pipeline's parts.
            negative: whether it is a negative prompt.
        """

    def guides(self, guidance_scale: float, true_cfg_scale: float) -> bool:
        """Tell whether predictions are guided by negative prompts at these scales."""

    @property
    def ip_adapters(self) -> int:
        """The number of IP-Adapters that the network carries."""

    @property
    def resolution(self) -> tuple[int, int]:
        """The (height, width) in pixels that the model was made for."""

    @property
    def latent_scale(self) -> int:
        """The number of pixels for each latent element along a side."""

    @property
    def latent_multiple(self) -> int:
        """The number that divides the sides of every latent: the patch size of a transformer, else 1."""

    @property
    def latent_channels(self) -> int:
        """The number of channels of a latent, C."""

    @property
    def device(self) -> torch.device:
        """The device on which the network runs."""

    @property
    def dtype(self) -> torch.dtype:
        """The network's floating-point type; latents are float32 whatever it is."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) in [0, 1] as latents on `device`, float32 (B, C, h, w): the mode, not a sample."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to images, float32 (B, 3, H, W) in [0, 1]."""

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """Return what a scheduler has to be told to make the timesteps that the family's pipeline would use."""

    def restated(self, step: Step) -> Step:
        """Return a sampler's step in terms of the network's own output, where that is not what the sampler reads."""

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """Embed images for IP-Adapters, given as the pipeline takes them: one tensor (2, ...) for each adapter.

        The first row is the embedding of no image, for guidance; the second is the image's.
        """

    def condition(self, request: Request) -> Condition:
        """Encode the prompts of a batch."""

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """Return the network's raw output at `latents`, float32 (B, C, h, w), guided if the condition says so."""

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return the same for latents that stand at different steps, one for each latent."""

    def release(self) -> None:
        """Let the pipeline's offloading hooks move the networks away again."""


def guided(
    network: Callable[[Tensor, Embeddings], Tensor], latents: Tensor, condition: Condition, *, restores: bool = False
) -> Tensor:
    """Predict with classifier-free guidance (Ho and Salimans, 2022, arXiv 2207.12598, eq. 6).

    Prompts and negative prompts of one length run in one doubled batch, and others one after the other.

    Args:
        network: returns predictions for latents and what they are conditioned on.
        latents: (B, C, h, w).
        condition: the prompts, with negative prompts for guidance.
        restores: whether guided predictions get the length back that those with the prompts have (see `restored`).
    """
    import torch

    if condition.negative is None:
        return network(latents, condition.positive)
    if all(condition.negative[name].shape == t.shape for name, t in condition.positive.items()):
        joined = {name: torch.cat([condition.negative[name], t]) for name, t in condition.positive.items()}
        negative, positive = network(torch.cat([latents, latents]), joined).chunk(2)
    else:
        negative, positive = (network(latents, each) for each in (condition.negative, condition.positive))
    prediction = negative + condition.guidance_scale * (positive - negative)
    if restores:
        return restored(prediction, positive)
    return rescaled(prediction, positive, condition.guidance_rescale) if condition.guidance_rescale else prediction


def restored(guided: Tensor, positive: Tensor) -> Tensor:
    """Give guided predictions the length of unguided ones along the last dimension, as pipelines of some flows do.

    Args:
        guided: the guided predictions, (..., width).
        positive: the predictions with the prompts alone, of the same shape.

    Examples:
        >>> import torch
        >>> restored(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([[0.6000, 0.8000]])
    """
    import torch

    wanted, found = (torch.linalg.vector_norm(t, dim=-1, keepdim=True) for t in (positive, guided))
    brought: Tensor = guided * (wanted / found)
    return brought


def rescaled(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """Bring guided predictions back to the deviation of unguided ones (Lin et al., 2023, arXiv 2305.08891, eq. 15, 16).

    Args:
        guided: the guided predictions, (B, C, h, w).
        positive: the predictions with the prompts alone, (B, C, h, w).
        share: how far, in [0, 1].

    Examples:
        >>> import torch
        >>> rescaled(torch.tensor([[-3.0, 3.0]]), torch.tensor([[-1.0, 1.0]]), 0.5)
        tensor([[-2.,  2.]])
    """
    dimensions = tuple(range(1, guided.ndim))
    deviations = (t.std(dim=dimensions, keepdim=True) for t in (positive, guided))
    return share * guided * (next(deviations) / next(deviations)) + (1.0 - share) * guided
