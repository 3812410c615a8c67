"""What transformers share that denoise the latents of classical diffusion models, and learnt the variance as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.base import Condition, Embeddings, guided
from renoise.backbones.pipeline import PipelineBackbone, for_each

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step


class TransformerBackbone(PipelineBackbone):
    """The base of PixArt and HunyuanDiT: a family adds `condition` and `_call`."""

    components: ClassVar[tuple[str, ...]] = ("transformer", "vae")
    statistics: ClassVar[tuple[str, ...]] = ()

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.require_channels(self.latent_channels)

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return int(self.network.config.patch_size)

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.network.config.sample_size) * self.latent_scale
        return side, side

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        return self._run(latents, [step], condition)

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`."""
        return self._run(latents, steps, condition)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return predictions at a step for all latents, or at one for each."""

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            scales = for_each((step.input_scale for step in steps), z)
            timesteps = for_each((step.timestep for step in steps), z)
            if len(timesteps) != len(z):
                timesteps = timesteps.expand(len(z))
            scaled = (z * scales.view(-1, 1, 1, 1)).to(self.dtype)
            # The channels behind those of the latent are the variance, which no sampler uses.
            return self._call(scaled, timesteps, embeddings)[:, : z.shape[1]].float()

        return guided(network, latents, condition)

    def _call(self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings) -> Tensor:
        """Run the network on latents (N, C, h, w) at timesteps (N,), and return all channels of its output."""
        raise NotImplementedError
