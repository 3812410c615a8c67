"""What the flow-matching families share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from renoise.steps import Step


def shift_for(scheduler: Any, tokens: int, max_shift: float) -> float:
    """mu: how far a schedule is shifted for a picture of that many tokens, as the pipelines compute it.

    Args:
        scheduler: its configuration holds the two sizes and shifts between which mu is linear.
        tokens: patches of the latent.
        max_shift: the family's own, where the configuration names none.
    """
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = scheduler.config
    mu: float = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", max_shift),
    )
    return mu


def timesteps(step: Step, latents: Tensor) -> Tensor:
    """The step's timestep for each picture, float32 (B,): transformers want one a picture."""
    return torch.full((latents.shape[0],), step.timestep, dtype=torch.float32, device=latents.device)
