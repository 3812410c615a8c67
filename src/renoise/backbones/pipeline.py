"""What the families have in common: a diffusers pipeline with one network, an autoencoder and text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from renoise.backbones import autoencoder
from renoise.backbones.base import Condition, Embeddings, Request, Schedule
from renoise.errors import ConfigError, ModelError
from renoise.steps import Step


class PipelineBackbone:
    """Base of the families; a new one adds `resolution`, `condition` and `predict` (see `Backbone`).

    Args:
        pipe: the user's pipeline, whose components are shared and never changed.

    Raises:
        ModelError: if one of the `components` is missing.
    """

    # The attributes of the pipeline that the family cannot do without, the network first.
    components: ClassVar[tuple[str, ...]] = ("unet", "vae")

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        for name in self.components:
            if getattr(pipe, name, None) is None:
                raise ModelError(f"the pipeline has no {name}; load it whole, with from_pretrained")

    @property
    def network(self) -> Any:
        """The denoising network."""
        return getattr(self.pipe, self.components[0])

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        raise NotImplementedError

    @property
    def latent_scale(self) -> int:
        """See `Backbone.latent_scale`."""
        return int(self.pipe.vae_scale_factor)

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return 1

    @property
    def latent_channels(self) -> int:
        """See `Backbone.latent_channels`."""
        return int(self.pipe.vae.config.latent_channels)

    @property
    def device(self) -> torch.device:
        """Where the network runs, offloading hooks considered."""
        return torch.device(self.pipe._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """See `Backbone.dtype`."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Backbone.encode`."""
        return autoencoder.encode(self.pipe.vae, pixels, self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode`."""
        return autoencoder.decode(self.pipe.vae, latents, self.device)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        return {}

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """See `Backbone.embed_images`."""
        raise ConfigError(f"{type(self.pipe).__name__} takes no pictures as a condition; leave ip_adapter_image out")

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        raise NotImplementedError

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        raise NotImplementedError

    def release(self) -> None:
        """See `Backbone.release`."""
        self.pipe.maybe_free_model_hooks()

    def as_condition(
        self, positive: Mapping[str, Tensor], negative: Mapping[str, Tensor] | None, guidance_scale: float
    ) -> Condition:
        """Embeddings in the network's own precision and on its device."""

        def placed(embeddings: Mapping[str, Tensor]) -> Embeddings:
            return {name: t.to(self.device, self.dtype) for name, t in embeddings.items()}

        if negative is None:
            return Condition(placed(positive))
        return Condition(placed(positive), placed(negative), guidance_scale)
