"""DoRA as kohya's and LyCORIS' files hold it, which diffusers does not read: LoRA with a magnitude for each channel.

A layer's weight becomes W' = (W + B A) m / |W + B A| (Liu et al., 2024, arXiv 2402.09353). The norm is taken of each
input channel or of each output channel; the shape of the magnitudes m tells which. With a strength s it is
W + s (W' - W). Since W, A and B stay as they are, c = m / |W + B A| is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners import lora
from peft.tuners.lora.layer import LoraVariant
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor


@dataclass(frozen=True)
class Magnitudes:
    """The magnitudes of one layer in a file, with the factors by which the layer is found again.

    Attributes:
        down: the file's factor A, with rank rows.
        up: the file's factor B, with rank columns.
        scale: the magnitudes m: (1, in, ...) for input channels, (out, 1, ...) or (out,) for output channels.
    """

    down: Tensor
    up: Tensor
    scale: Tensor


def apply(networks: Iterable[torch.nn.Module], adapter: str, magnitudes: Iterable[Magnitudes]) -> int:
    """Put magnitudes into force on the layers that carry a loaded LoRA at full strength.

    Args:
        networks: the networks that were adapted; their LoRA layers are changed.
        adapter: the name of the adapter.
        magnitudes: those of the file.

    Returns:
        The number of magnitudes that could not be applied, because no layer carries their factors as they are, or its
        weights cannot be read.
    """
    layers: dict[tuple[bytes, bytes], list[Any]] = {}
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, BaseTunerLayer) and adapter in getattr(layer, "lora_A", ()):
                factors = (layer.lora_A[adapter].weight, layer.lora_B[adapter].weight)
                layers.setdefault(_content(*factors, factors[0].dtype), []).append(layer)
    types = {layer.lora_A[adapter].weight.dtype for found in layers.values() for layer in found}
    failed = 0
    for one in magnitudes:
        found = [layer for dtype in types for layer in layers.get(_content(one.down, one.up, dtype), ())]
        if len(found) != 1 or not _decompose(found[0], adapter, one.scale):
            failed += 1
    return failed


def _content(down: Tensor, up: Tensor, dtype: torch.dtype) -> tuple[bytes, bytes]:
    """Return the values of two factors in a precision, whatever their shapes."""
    a, b = (t.detach().to("cpu", dtype).contiguous().flatten().view(torch.uint8).numpy().tobytes() for t in (down, up))
    return a, b


def _decompose(layer: Any, adapter: str, scale: Tensor) -> bool:
    """Give one layer its magnitudes; False if they do not fit it."""
    cls = {lora.Linear: _Linear, _Linear: _Linear, lora.Conv2d: _Conv2d, _Conv2d: _Conv2d}.get(type(layer))
    weight = layer.get_base_layer().weight
    if cls is None or not weight.is_floating_point() or adapter in layer.lora_variant:
        return False
    outputs, inputs = weight.shape[:2]
    by_input = scale.ndim > 1 and scale.shape[0] == 1 and scale.numel() == inputs
    if not by_input and not (scale.numel() == outputs and scale.shape[0] == outputs):
        return False
    changed = weight.detach().float() + layer.get_delta_weight(adapter).float()
    kept = 1 if by_input else 0
    norm = torch.linalg.vector_norm(changed, dim=[d for d in range(changed.ndim) if d != kept], keepdim=True)
    factors = scale.detach().to(weight.device).float().reshape(norm.shape) / norm.clamp_min(1e-12)
    if not bool(torch.isfinite(factors).all()):
        return False
    layer.__class__ = cls
    if not hasattr(layer, "lora_channels"):
        layer.lora_channels, layer.full_scaling = torch.nn.ParameterDict(), {}
    layer.lora_channels[adapter] = torch.nn.Parameter(
        factors.to(layer.lora_A[adapter].weight.dtype), requires_grad=False
    )
    layer.full_scaling[adapter] = layer.scaling[adapter]
    layer.lora_variant[adapter] = _Decomposed()
    return True


class _Decomposed(LoraVariant):  # type: ignore[misc] # peft has no types
    """How peft runs and merges a layer with magnitudes."""

    @staticmethod
    def forward(module: Any, *, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """Add s (W' - W) x to what the layer would return without it."""
        channels, scaling = module.lora_channels[active_adapter], module.scaling[active_adapter]
        strength = scaling / module.full_scaling[active_adapter]
        low, up = module.lora_A[active_adapter], module.lora_B[active_adapter]
        c = channels.reshape(1, -1, 1, 1) if channels.ndim == 4 else channels.reshape(-1)
        if channels.shape[0] == 1:
            change: Tensor = strength * _linear_part(module, x * (c - 1.0)) + scaling * up(low(x * c))
        else:
            change = strength * _linear_part(module, x) * (c - 1.0) + scaling * up(low(x)) * c
        return result + change

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Return the weight with the change."""
        merged: Tensor = orig_weight + module.get_delta_weight(active_adapter).to(orig_weight.dtype)
        return merged

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        """Add the change to the weight."""
        orig_weight.data += module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Return the weight without the change: W = (W + s (W' - W) - s c D) / (1 + s (c - 1))."""
        channels, strength, change = _parts(module, active_adapter)
        weight = (orig_weight - strength * channels * change) / (1.0 + strength * (channels - 1.0))
        unmerged: Tensor = weight.to(orig_weight.dtype)
        return unmerged


class _Adapted:
    """What a layer with magnitudes adds to peft's own."""

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return s (W' - W), of the weight's shape."""
        module: Any = self
        if adapter not in module.lora_channels:
            plain: Tensor = super().get_delta_weight(adapter)  # type: ignore[misc] # a layer of peft follows
            return plain
        channels, strength, change = _parts(module, adapter)
        weight = module.get_base_layer().weight
        delta: Tensor = strength * ((weight + change) * channels - weight)
        return delta


class _Linear(_Adapted, lora.Linear):  # type: ignore[misc] # peft has no types
    """A linear layer with magnitudes."""


class _Conv2d(_Adapted, lora.Conv2d):  # type: ignore[misc] # peft has no types
    """A convolution with magnitudes."""


def _parts(module: Any, adapter: str) -> tuple[Tensor, float, Tensor]:
    """Return c, the strength s and the change B A at full strength."""
    full, scaling = module.full_scaling[adapter], module.scaling[adapter]
    module.scaling[adapter] = full
    try:
        change = super(_Adapted, module).get_delta_weight(adapter)
    finally:
        module.scaling[adapter] = scaling
    return module.lora_channels[adapter], scaling / full, change


def _linear_part(module: Any, x: Tensor) -> Tensor:
    """Return what the layer makes of x without its bias."""
    base = module.get_base_layer()
    y: Tensor = base(x.to(base.weight.dtype))
    if base.bias is not None:
        y = y - (base.bias.reshape(1, -1, 1, 1) if base.weight.ndim == 4 else base.bias)
    return y
