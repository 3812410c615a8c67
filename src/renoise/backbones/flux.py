"""Flux (Black Forest Labs, 2024): a flow transformer over 2 x 2 patches of the latent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, flow, ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, Schedule, guided
from renoise.errors import Argument, IgnoredSettingWarning

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.steps import Step

# The number of latent elements along a patch's side.
_PATCH = 2
# The tokens that T5 reads, as the pipeline has it.
_LONGEST = 512


class FluxBackbone(flow.FlowBackbone):
    """Flux dev, whose guidance scale is an input of the network, and schnell, which has none.

    True classifier-free guidance is a second pass with a negative prompt, asked for by `true_cfg_scale`.
    """

    name: ClassVar[str] = "flux"
    title: ClassVar[str] = "FLUX.1"
    pipelines: ClassVar[tuple[str, ...]] = ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline")
    takes_true_cfg: ClassVar[bool] = True
    preset: ClassVar[str] = "flux"
    max_shift: ClassVar[float] = 1.15

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.require_channels(self.latent_channels * _PATCH**2)

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """See `PipelineBackbone.built_in_guidance`; schnell takes none."""
        return 3.5 if pipe.transformer.config.guidance_embeds else None

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """See `PipelineBackbone.preset_for`; schnell, which takes no guidance, draws in a few steps."""
        return cls.preset if pipe.transformer.config.guidance_embeds else "flux-schnell"

    def guides(self, guidance_scale: float, true_cfg_scale: float) -> bool:
        """See `Backbone.guides`; guidance by negative prompts is the true one here."""
        return true_cfg_scale > 1.0

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return _PATCH

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """See `PipelineBackbone.ip_projections`."""
        projection = getattr(self.network, "encoder_hid_proj", None)
        return () if projection is None else list(projection.image_projection_layers)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        import numpy as np

        if scheduler.config.get("use_flow_sigmas"):
            return {"mu": self.shift(scheduler, size)}
        sigmas = [float(s) for s in np.linspace(1.0, 1.0 / num_steps, num_steps)]
        return {"mu": self.shift(scheduler, size), "sigmas": sigmas}

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`; true guidance without negative prompts takes empty ones."""
        import torch

        count = len(request.prompts)
        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, count)
        built_in = {}
        if self.network.config.guidance_embeds:
            built_in["guidance"] = torch.full((count,), request.guidance_scale, dtype=torch.float32)
        elif request.guidance_scale > 1.0:
            scale = Argument("guidance_scale", request.guidance_scale)
            remedy = ("use ", Argument("true_cfg_scale"), " for classifier-free guidance")
            ignored = IgnoredSettingWarning(
                "this model has no guidance built in: ", scale, " has no effect", remedy=remedy
            )
            warnings.warn(ignored, stacklevel=2)
        positive = {**self._encode(request), **built_in, **shown}
        negative = {**self._encode(request, encoding.NEGATIVE), **built_in, **unshown} if guides else None
        return self.as_condition(positive, negative, request.true_cfg_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        return self._run(latents, [step], condition)

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`."""
        return self._run(latents, steps, condition)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return predictions at a step for all latents, or at one for each."""
        import torch

        height, width = latents.shape[-2:]

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            shown = ip_adapter.of(embeddings)
            text = embeddings["text"]
            velocity: Tensor = self.network(
                hidden_states=pack(z).to(embeddings["text"].dtype),
                timestep=flow.timesteps(steps, z) / 1000,
                guidance=embeddings.get("guidance"),
                pooled_projections=embeddings["pooled"],
                encoder_hidden_states=text,
                txt_ids=torch.zeros(text.shape[1], 3, dtype=text.dtype, device=text.device),
                img_ids=positions(height, width).to(text.device, text.dtype),
                joint_attention_kwargs={"ip_adapter_image_embeds": shown} if shown else {},
                return_dict=False,
            )[0]
            return unpack(velocity.float(), height, width)

        return guided(network, latents, condition)

    def _embed(self, images: Any) -> Sequence[Tensor]:
        import numpy as np
        import torch

        # The pipeline takes a black image in place of no image.
        black = [np.zeros((*self.resolution, 3), dtype=np.uint8)] * self.ip_adapters
        unshown, shown = (
            self.pipe.prepare_ip_adapter_image_embeds(each, None, self.device, 1) for each in (black, images)
        )
        # The black image is repeated for each image: equal tokens share the attention that one would have alone.
        return [
            torch.cat([none.expand(-1, image.shape[1], *none.shape[2:]), image])
            for none, image in zip(unshown, shown, strict=True)
        ]

    def _encode(self, request: Request, prefix: str = "") -> dict[str, Tensor]:
        """Return the embeddings of the prompts, or of the negative ones."""
        given = request.text_embeds
        if f"{prefix}prompt_embeds" in given:
            return {
                name: given[f"{prefix}{key}"].to(self.device)
                for name, key in (("text", "prompt_embeds"), ("pooled", "pooled_prompt_embeds"))
            }
        encoding.require_encoders(self, f"{prefix}prompt")
        prompts = (request.negative_prompts or [""] * len(request.prompts)) if prefix else request.prompts
        # Both are as long as each other in one batch.
        longest = given["prompt_embeds"].shape[1] if "prompt_embeds" in given else _LONGEST
        tokens, pooled, _ = self.pipe.encode_prompt(
            prompt=list(prompts), prompt_2=None, device=self.device, max_sequence_length=min(longest, _LONGEST)
        )
        return {"text": tokens, "pooled": pooled}


def pack(latents: Tensor) -> Tensor:
    """Pack latents (B, C, h, w) into a sequence of 2 x 2 patches, (B, h / 2 * w / 2, 4 C), row by row.

    Examples:
        >>> import torch
        >>> pack(torch.zeros(1, 16, 8, 6)).shape
        torch.Size([1, 12, 64])
    """
    import torch

    return torch.nn.functional.pixel_unshuffle(latents, _PATCH).flatten(2).transpose(1, 2)


def unpack(sequence: Tensor, height: int, width: int) -> Tensor:
    """Unpack a sequence of patches (B, h / 2 * w / 2, 4 C) into latents (B, C, h, w): the inverse of `pack`."""
    import torch

    grid = sequence.transpose(1, 2).reshape(len(sequence), -1, height // _PATCH, width // _PATCH)
    return torch.nn.functional.pixel_shuffle(grid, _PATCH)


def positions(height: int, width: int) -> Tensor:
    """Return (0, row, column) of each patch of a latent h x w, float32 (h / 2 * w / 2, 3)."""
    import torch

    rows, columns = height // _PATCH, width // _PATCH
    origin, down, across = (torch.arange(count, dtype=torch.float32) for count in (1, rows, columns))
    return torch.cartesian_prod(origin, down, across)
