"""FLUX.2 dev and klein (Black Forest Labs, 2025): a flow transformer over 2 x 2 patches, told by a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, packing
from renoise.backbones.base import Embeddings
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Clock, Shift

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ByTokensAndSteps:
    """Shifts along straight lines in the number of tokens, between which the number of steps leads.

    The lines are those of schedules of 10 and of 200 steps; images of many tokens have the second one's shift.
    """

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """See `Shift.mu`."""
        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        return float(compute_empirical_mu(tokens, num_steps))


class Flux2Backbone(FlowBackbone):
    """FLUX.2 dev, whose guidance scale is an input of the network, and klein, which is guided by a second pass.

    The distilled klein takes no guidance. Latents keep the image's grid, and have a mean and a deviation at each place
    of their 2 x 2 patches.
    """

    name: ClassVar[str] = "flux2"
    title: ClassVar[str] = "FLUX.2"
    pipelines: ClassVar[tuple[str, ...]] = ("Flux2Pipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline")
    leaves_levels: ClassVar[tuple[str, ...]] = pipelines
    preset: ClassVar[str] = "flux2"
    clock: ClassVar[Clock] = Clock(per=1000.0)
    shift: ClassVar[Shift | None] = ByTokensAndSteps()
    packed: ClassVar[bool] = True
    encodes: ClassVar[tuple[str, ...]] = ("text",)
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({"max_sequence_length": 512})

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`; klein's pipelines give none, whatever their network takes."""
        return 4.0 if pipe.transformer.config.guidance_embeds and not _is_klein(pipe) else None

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; a pipeline says whether its model is distilled to a few steps."""
        return "flux2-klein" if pipe.config.get("is_distilled") else cls.preset

    @classmethod
    def distilled(cls, pipe: Any) -> bool:
        """See `PipelineBackbone.distilled`; dev's pipeline knows no second pass, whatever its network takes."""
        return bool(pipe.config.get("is_distilled")) if _is_klein(pipe) else True

    def guides(self, guidance_scale: float, true_cfg_scale: float) -> bool:
        """See `Backbone.guides`; distilled models are not guided."""
        return super().guides(guidance_scale, true_cfg_scale) and not self.distilled(self.pipe)

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        return int(self.network.config.joint_attention_dim), None

    def around(self, encoder: str, *, negative: bool) -> str:
        """See `Backbone.around`; a prompt is the user's turn of a conversation, of which the end may be cut off."""
        system = getattr(self.pipe, "system_message", None)
        return encoding.before_prompt(self.pipe.tokenizer, system, enable_thinking=False)

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`; text has places on a fourth axis."""
        text = embeddings["text"]
        return {
            "hidden_states": latents,
            "timestep": time,
            "guidance": embeddings.get("guidance"),
            "encoder_hidden_states": text,
            "txt_ids": packing.positions(1, 1, text.shape[1]).to(text.device),
            "img_ids": packing.positions(*grid, 1).to(text.device),
        }


def _is_klein(pipe: Any) -> bool:
    """Tell whether a pipeline is one of klein's, which say whether their model is distilled."""
    return "is_distilled" in pipe.config
