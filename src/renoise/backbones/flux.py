"""Flux (Black Forest Labs, 2024): a flow transformer over 2 x 2 patches of the latent."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from renoise.backbones import flow, ip_adapter
from renoise.backbones.base import Condition, Embeddings, Request, Schedule, guided
from renoise.backbones.pipeline import PipelineBackbone
from renoise.errors import ConfigError
from renoise.steps import Step

log = logging.getLogger("renoise")

# Latent elements along a patch's side, and the mu of the pipeline where the scheduler names none.
_PATCH = 2
_MAX_SHIFT = 1.15


class FluxBackbone(PipelineBackbone):
    """Flux dev, whose guidance scale is an input of the network, and schnell, which has none.

    True classifier-free guidance is a second pass with a negative prompt, asked for by `true_cfg_scale`.
    """

    components: ClassVar[tuple[str, ...]] = ("transformer", "vae", "text_encoder", "text_encoder_2")

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        side = int(self.pipe.default_sample_size) * self.latent_scale
        return side, side

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return _PATCH

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        patch = self.latent_scale * _PATCH
        mu = flow.shift_for(scheduler, (size[0] // patch) * (size[1] // patch), _MAX_SHIFT)
        if scheduler.config.get("use_flow_sigmas"):
            return {"mu": mu}
        return {"mu": mu, "sigmas": [float(s) for s in np.linspace(1.0, 1.0 / num_steps, num_steps)]}

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """See `Backbone.embed_images`; the pipeline takes a black picture for none."""
        if not self._adapters:
            return super().embed_images(images)
        ip_adapter.require_encoder(self.pipe)
        black = [np.zeros((*self.resolution, 3), dtype=np.uint8)] * self._adapters
        try:
            halves = [self.pipe.prepare_ip_adapter_image_embeds(i, None, self.device, 1) for i in (black, images)]
        except Exception as error:  # diffusers hands whatever it was given to the image processor
            raise ip_adapter.unusable(error) from error
        return tuple(torch.cat(pair) for pair in zip(*halves, strict=True))

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`; with true guidance and no negative prompt that is the empty one."""
        count = len(request.prompts)
        guides = request.true_cfg_scale > 1.0
        shown, unshown = ip_adapter.rows(request.image_embeds, self._adapters, count)
        if guides and request.negative_prompts is None:
            negatives = [""] * count
        else:
            negatives = list(request.negative_prompts or [])
        built_in = {}
        if self.network.config.guidance_embeds:
            built_in["guidance"] = torch.full((count,), request.guidance_scale)
        elif request.guidance_scale > 1.0:
            log.warning(
                "this model has no guidance built in, so that a guidance scale of %g has no effect; true_cfg_scale has",
                request.guidance_scale,
            )
        positive = {**self._encode(request.prompts), **built_in, **shown}
        negative = {**self._encode(negatives), **built_in, **unshown} if guides else None
        return self.as_condition(positive, negative, request.true_cfg_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        height, width = latents.shape[-2:]
        if height % _PATCH or width % _PATCH:
            raise ConfigError(f"latents of Flux have even sides, not {height} x {width}; use a multiple of {_PATCH}")

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            shown = ip_adapter.of(embeddings)
            text = embeddings["text"]
            velocity: Tensor = self.network(
                hidden_states=pack(z).to(self.dtype),
                timestep=flow.timesteps(step, z) / 1000,
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

    @property
    def _adapters(self) -> int:
        projection = getattr(self.network, "encoder_hid_proj", None)
        return 0 if projection is None else int(projection.num_ip_adapters)

    def _encode(self, prompts: Any) -> dict[str, Tensor]:
        text, pooled, _ = self.pipe.encode_prompt(prompt=list(prompts), prompt_2=None, device=self.device)
        return {"text": text, "pooled": pooled}


def pack(latents: Tensor) -> Tensor:
    """(B, C, h, w) as a sequence of 2 x 2 patches, (B, h / 2 * w / 2, 4 C), row by row."""
    return torch.nn.functional.pixel_unshuffle(latents, _PATCH).flatten(2).transpose(1, 2)


def unpack(sequence: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`: (B, h / 2 * w / 2, 4 C) as (B, C, h, w)."""
    grid = sequence.transpose(1, 2).reshape(len(sequence), -1, height // _PATCH, width // _PATCH)
    return torch.nn.functional.pixel_shuffle(grid, _PATCH)


def positions(height: int, width: int) -> Tensor:
    """(0, row, column) of each patch of a latent h x w, (h / 2 * w / 2, 3)."""
    rows, columns = height // _PATCH, width // _PATCH
    return torch.cartesian_prod(torch.zeros(1), torch.arange(float(rows)), torch.arange(float(columns)))
