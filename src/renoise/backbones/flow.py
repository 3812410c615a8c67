"""What the flow-matching families share: transformers over patches of the latent that predict a velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.pipeline import PipelineBackbone, for_each
from renoise.schedulers.names import FLOW

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step


class FlowBackbone(PipelineBackbone):
    """The base of SD3 and Flux.

    Attributes:
        max_shift: the mu of a large image's schedule if the scheduler's configuration names none.
    """

    components: ClassVar[tuple[str, ...]] = ("transformer", "vae")
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    samplers: ClassVar[tuple[str, ...]] = FLOW
    precision: ClassVar[str] = "bfloat16"  # because T5 overflows in float16
    flow: ClassVar[bool] = True
    preset: ClassVar[str] = "sd3"
    max_shift: ClassVar[float] = 1.16

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        config = self.network.config
        return int(config.joint_attention_dim), int(config.pooled_projection_dim)

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.pipe.default_sample_size) * self.latent_scale
        return side, side

    def shift(self, scheduler: Any, size: tuple[int, int]) -> float:
        """Return mu, by which a schedule is shifted for an image of `size` (height, width), as the pipelines do."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        patch, config = self.latent_scale * self.latent_multiple, scheduler.config
        mu: float = calculate_shift(
            (size[0] // patch) * (size[1] // patch),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", self.max_shift),
        )
        return mu


def timesteps(steps: Sequence[Step], latents: Tensor) -> Tensor:
    """Return the timestep of each latent, float32 (N,), as transformers take it; one step is that of all."""
    return for_each((step.timestep for step in steps), latents)
