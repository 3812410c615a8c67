"""DoRA as kohya's and LyCORIS' files hold it, which diffusers does not read: LoRA with a magnitude for each channel.

A layer's weight becomes W' = (W + B A) m / |W + B A| (Liu et al., 2024, arXiv 2402.09353). The norm is taken of each
input channel or of each output channel; the shape of the magnitudes m tells which. With a strength s it is
W + s (W' - W). Since W, A and B stay as they are, c = m / |W + B A| is computed once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from renoise.loading.adapted import carries_others, give_channels


def decompose(layer: Any, adapter: str, scale: Tensor) -> bool:
    """Give one layer its magnitudes, at the adapter's present strength as the full one.

    Args:
        layer: one of PEFT's LoRA layers.
        adapter: the name of the adapter.
        scale: the magnitudes m: (1, in, ...) for input channels, (out, 1, ...) or (out,) for output channels.

    Returns:
        Whether they fit the layer.
    """
    if not carries_others(layer) or (adapter in layer.lora_variant and adapter not in layer.lora_changes):
        return False
    weight = layer.get_base_layer().weight
    outputs, inputs = weight.shape[:2]
    by_input = scale.ndim > 1 and scale.shape[0] == 1 and scale.numel() == inputs
    if not by_input and not (scale.ndim > 0 and scale.numel() == outputs and scale.shape[0] == outputs):
        return False
    changed = weight.detach().float() + layer.get_delta_weight(adapter).float()
    kept = 1 if by_input else 0
    norm = torch.linalg.vector_norm(changed, dim=[d for d in range(changed.ndim) if d != kept], keepdim=True)
    factors = scale.detach().to(weight.device).float().reshape(norm.shape) / norm.clamp_min(1e-12)
    if not bool(torch.isfinite(factors).all()):
        return False
    give_channels(layer, adapter, factors)
    return True
