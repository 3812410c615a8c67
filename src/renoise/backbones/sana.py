"""Sana (Xie et al., 2024, arXiv 2410.10629) and SANA-Sprint (Chen et al., 2025, arXiv 2503.09641).

Both are transformers of linear attention over the latents of an autoencoder that shrinks images to a thirty-second.
Sana is a flow. SANA-Sprint is distilled from it for a few steps along TrigFlow's arc.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones.base import Condition, Embeddings, Request, guided
from renoise.backbones.flow import FlowBackbone
from renoise.backbones.flow_facts import Shift
from renoise.backbones.pipeline import for_each
from renoise.schedulers.names import TRIGFLOW

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step


class SanaBackbone(FlowBackbone):
    """Sana, whose prompts follow an instruction to a language model, as its pipeline has it."""

    name: ClassVar[str] = "sana"
    title: ClassVar[str] = "Sana"
    pipelines: ClassVar[tuple[str, ...]] = ("SanaPipeline",)
    statistics: ClassVar[tuple[str, ...]] = ()
    preset: ClassVar[str] = "sana"
    shift: ClassVar[Shift | None] = None
    even_sigmas: ClassVar[bool] = False
    encodes: ClassVar[tuple[str, ...]] = ("text", "mask", "negative_text", "negative_mask")

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.network.config.sample_size) * self.latent_scale
        return side, side

    @property
    def reads_at_most(self) -> int | None:
        """See `Backbone.reads_at_most`; of the instruction's two special tokens each is one of the prompt's."""
        return int(self._called_with("max_sequence_length"))

    def reading(self, request: Request) -> Mapping[str, Any]:
        """See `FlowBackbone.reading`; the instruction and the length are those of the pipeline's own call."""
        names = ("complex_human_instruction", "max_sequence_length", "clean_caption")
        return {name: self._called_with(name) for name in names}

    def read(self, request: Request, *, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """See `FlowBackbone.read`; the pipeline's own negative prompt is an empty one."""
        negatives = request.negative_prompts or [""] * len(request.prompts)
        return super().read(replace(request, negative_prompts=negatives), guides=guides)

    def time(self, timesteps: Tensor) -> Tensor:
        """See `FlowBackbone.time`; the network says in which unit."""
        return timesteps * float(self.network.config.timestep_scale)

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """See `FlowBackbone.inputs`."""
        told = embeddings.get("guidance")
        return {
            "hidden_states": latents,
            "timestep": time,
            "guidance": None if told is None else told * self.network.config.guidance_embeds_scale,
            "encoder_hidden_states": embeddings["text"],
            "encoder_attention_mask": embeddings["mask"],
        }

    def output(self, raw: Any) -> Tensor:
        """See `FlowBackbone.output`; some networks return a variance as well, behind the velocity."""
        velocity: Tensor = raw[:, : self.latent_channels]
        return velocity

    def _called_with(self, name: str) -> Any:
        """Return the default of an argument of the pipeline's call."""
        return inspect.signature(type(self.pipe).__call__).parameters[name].default


class SanaSprintBackbone(SanaBackbone):
    """SANA-Sprint, whose guidance scale is an input of the network, and whose latents have the scheduler's deviation.

    The network is a flow's: it sees the latent z l at the time t = sin s / (sin s + cos s) of the straight path that
    has the noise level of the angle s, with l = sqrt(t^2 + (1 - t)^2). TrigFlow's velocity is (1 - 2 t) z + l d F for
    its output F and data of deviation d. Steps are stated in F, because much of the velocity is the latent itself, so
    that an iteration over velocities runs away where one over outputs comes to rest.
    """

    name: ClassVar[str] = "sana-sprint"
    title: ClassVar[str] = "SANA-Sprint"
    pipelines: ClassVar[tuple[str, ...]] = ("SanaSprintPipeline", "SanaSprintImg2ImgPipeline")
    samplers: ClassVar[tuple[str, ...]] = TRIGFLOW
    flow: ClassVar[bool] = False
    preset: ClassVar[str] = "sana-sprint"
    encodes: ClassVar[tuple[str, ...]] = ("text", "mask")

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`."""
        return 4.5

    @classmethod
    def inversion_guidance(cls, pipe: Any) -> float | None:
        """See `PipelineBackbone.inversion_guidance`; it is distilled with scales well above 1, as LCMs are."""
        return cls.built_in_guidance(pipe)

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Backbone.encode`."""
        return super().encode(pixels) * self._deviation

    def decode(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode`."""
        return super().decode(latents / self._deviation)

    @property
    def _deviation(self) -> float:
        """The deviation of the data on the scheduler's arc."""
        return float(self.pipe.scheduler.config.get("sigma_data", 1.0))

    def restated(self, step: Step) -> Step:
        """See `Backbone.restated`."""
        time, length = _on_straight_path(step.timestep)
        return step.restated(1.0 - 2.0 * time, length * self._deviation)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return the network's outputs at a step for all latents, or at one for each."""
        grid = latents.shape[-2] // self.latent_multiple, latents.shape[-1] // self.latent_multiple
        places = [_on_straight_path(step.timestep) for step in steps]

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            time, length = (for_each(values, z) for values in zip(*places, strict=True))
            given = (z / self._deviation * length.view(-1, 1, 1, 1)).to(self.dtype)
            raw = self.network(**self.inputs(given, time, embeddings, grid), return_dict=False)[0]
            return self.output(raw).float()

        return guided(network, latents, condition)


def _on_straight_path(angle: float) -> tuple[float, float]:
    """Return the time of the straight path at which its noise level is that of an angle on the arc, and its length."""
    time = math.sin(angle) / (math.cos(angle) + math.sin(angle))
    return time, math.hypot(time, 1.0 - time)
