"""HiDream-I1 (HiDream.ai, 2025, arXiv 2505.22705): a flow transformer with experts, told by four text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.base import Embeddings, Request
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import ByTokens, Shift
from renoise.errors import Argument, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

# The shift of the schedule with which Dev is published; the full model and Fast have 3.
_DEV_SHIFT = 6.0


@dataclass(frozen=True)
class WithoutConfiguration:
    """Shifts along the line of `ByTokens`, whatever a scheduler's configuration says of it."""

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """See `Shift.mu`."""
        return ByTokens().mu({}, tokens, num_steps)


class HiDreamBackbone(FlowBackbone):
    """HiDream-I1, whose network reads T5 and all layers of Llama, besides what two CLIP encoders pool."""

    name: ClassVar[str] = "hidream"
    title: ClassVar[str] = "HiDream-I1"
    pipelines: ClassVar[tuple[str, ...]] = ("HiDreamImagePipeline",)
    encoders: ClassVar[tuple[str, ...]] = tuple(
        f"{part}{number}" for number in ("", "_2", "_3", "_4") for part in ("text_encoder", "tokenizer")
    )
    preset: ClassVar[str] = "hidream"
    sign: ClassVar[float] = -1.0
    shift: ClassVar[Shift | None] = WithoutConfiguration()
    even_sigmas: ClassVar[bool] = False
    encodes: ClassVar[tuple[str, ...]] = (
        *("text", "negative_text", "layers", "negative_layers"),
        *("pooled", "negative_pooled"),
    )

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; Dev and Fast draw by consistency, Dev with another shift."""
        if pipe.scheduler.config.get("shift") == _DEV_SHIFT:
            return "hidream-dev"
        return "hidream-fast" if type(pipe.scheduler).__name__ == "FlowMatchLCMScheduler" else cls.preset

    @classmethod
    def distilled(cls, pipe: Any) -> bool:
        """See `PipelineBackbone.distilled`; Dev and Fast take no guidance."""
        return cls.preset_for(pipe) != cls.preset

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`; the network takes more than two embeddings."""
        return None

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        height, width = self.network.config.max_resolution
        return height * self.latent_scale, width * self.latent_scale

    def tokens(self, size: tuple[int, int]) -> int:
        """See `FlowBackbone.tokens`; every image is shifted as one of the most tokens is."""
        return int(self.network.max_seq)

    def require_positions(self, size: tuple[int, int]) -> None:
        """See `FlowBackbone.require_positions`; the network takes a number of tokens, however they lie."""
        found, most = super().tokens(size), int(self.network.max_seq)
        if found > most:
            raise ConfigError(
                f"the image is {size[1]} x {size[0]} pixels and {found} tokens, but the model takes {most} tokens",
                remedy=("use a smaller image, or ", Argument("fit", "crop")),
            )

    def read(self, request: Request, *, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """See `FlowBackbone.read`; the pipeline stacks Llama's layers before the batch."""
        read = super().read(request, guides=guides)
        for embeddings in read:
            if "layers" in embeddings:
                embeddings["layers"] = embeddings["layers"].transpose(0, 1)
        return read

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        return {
            "hidden_states": latents,
            "timesteps": time,
            "encoder_hidden_states_t5": embeddings["text"],
            "encoder_hidden_states_llama3": embeddings["layers"].transpose(0, 1),
            "pooled_embeds": embeddings["pooled"],
        }
