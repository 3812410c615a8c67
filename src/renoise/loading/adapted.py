"""PEFT's LoRA layers that carry what PEFT does not: a change in another form than B A, and a DoRA's magnitudes.

Such a layer is one of PEFT's LoRA layers in all else: strengths, several adapters, fusing and unloading work as ever.
With a change D and magnitudes m it computes W + s (W' - W), W' = (W + D) c with c = m / |W + D|, or W + s D without m
(DoRA: Liu et al., 2024, arXiv 2402.09353).
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor

from renoise.loading.adapter_change import Change, Channels


def carries_others(layer: Any) -> bool:
    """Make one of PEFT's layers able to carry changes and magnitudes; False if it is of no such kind."""
    cls = {lora.Linear: _Linear, _Linear: _Linear, lora.Conv2d: _Conv2d, _Conv2d: _Conv2d}.get(type(layer))
    if cls is None or not layer.get_base_layer().weight.is_floating_point():
        return False
    if type(layer) is not cls:
        layer.__class__ = cls
        layer.lora_changes, layer.lora_channels, layer.full_scaling = torch.nn.ModuleDict(), torch.nn.ModuleDict(), {}
    return True


def give_change(layer: Any, adapter: str, change: Change) -> None:
    """Put a change into the place of an adapter's factors, in a layer that `carries_others`."""
    layer.lora_changes[adapter] = change
    layer.lora_variant[adapter] = _Changed()


def give_channels(layer: Any, adapter: str, factors: Tensor) -> None:
    """Put the factors c of a DoRA into force, at the adapter's present strength as the full one.

    Args:
        layer: a layer that `carries_others`.
        adapter: the adapter's name.
        factors: c, of shape (1, in, ...) or (out, 1, ...).
    """
    dtype = layer.lora_A[adapter].weight.dtype
    layer.lora_channels[adapter] = Channels(factors.to(dtype))
    layer.full_scaling[adapter] = layer.scaling[adapter]
    layer.lora_variant[adapter] = _Decomposed()


class _Other(LoraVariant):  # type: ignore[misc] # peft has no types
    """How peft merges a layer whose change it does not know."""

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Return the weight with the change."""
        merged: Tensor = orig_weight + module.get_delta_weight(active_adapter).to(orig_weight.dtype)
        return merged

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        """Add the change to the weight."""
        orig_weight.data += module.get_delta_weight(active_adapter).to(orig_weight.dtype)


class _Changed(_Other):
    """How peft runs and merges a layer whose change has another form."""

    @staticmethod
    def forward(module: Any, *, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """Add s D x to what the layer would return without it."""
        change = module.change_of(active_adapter, x) + module.bias_of(active_adapter, x)
        changed: Tensor = result + module.scaling[active_adapter] * change
        return changed

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Return the weight without the change."""
        unmerged: Tensor = orig_weight - module.get_delta_weight(active_adapter).to(orig_weight.dtype)
        return unmerged


class _Decomposed(_Other):
    """How peft runs and merges a layer with magnitudes."""

    @staticmethod
    def forward(module: Any, *, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """Add s (W' - W) x to what the layer would return without it."""
        channels, scaling = module.lora_channels[active_adapter](), module.scaling[active_adapter]
        strength = scaling / module.full_scaling[active_adapter]
        c = channels.reshape(1, -1, 1, 1) if channels.ndim == 4 else channels.reshape(-1)
        if channels.shape[0] == 1:
            change: Tensor = strength * _linear_part(module, x * (c - 1.0))
            change = change + scaling * module.change_of(active_adapter, x * c)
        else:
            change = strength * _linear_part(module, x) * (c - 1.0) + scaling * module.change_of(active_adapter, x) * c
        changed: Tensor = result + change + scaling * module.bias_of(active_adapter, x)
        return changed

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Return the weight without the change: W = (W + s (W' - W) - s c D) / (1 + s (c - 1))."""
        channels, strength, change = _parts(module, active_adapter)
        weight = (orig_weight - strength * channels * change) / (1.0 + strength * (channels - 1.0))
        unmerged: Tensor = weight.to(orig_weight.dtype)
        return unmerged


class _Carrier:
    """What these layers add to peft's own."""

    def change_of(self, adapter: str, x: Tensor) -> Tensor:
        """Return D x, without strength."""
        module: Any = self
        if adapter not in module.lora_changes:
            made: Tensor = module.lora_B[adapter](module.lora_A[adapter](x)) - self.bias_of(adapter, x)
            return made
        changed: Tensor = module.lora_changes[adapter](x)
        return changed

    def bias_of(self, adapter: str, x: Tensor) -> Tensor | float:
        """Return the change of the bias, without strength, in the shape in which it is added."""
        module: Any = self
        return _made_of_zeros(module.lora_B[adapter], x) if module.lora_bias[adapter] else 0.0

    def plain_delta(self, adapter: str) -> Tensor:
        """Return s D, of the weight's shape."""
        module: Any = self
        if adapter not in module.lora_changes:
            plain: Tensor = super().get_delta_weight(adapter)  # type: ignore[misc] # a layer of peft follows
            return plain
        delta: Tensor = module.scaling[adapter] * module.lora_changes[adapter].weight()
        return delta

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return s D or s (W' - W), of the weight's shape."""
        module: Any = self
        if adapter not in module.lora_channels:
            return self.plain_delta(adapter)
        channels, strength, change = _parts(module, adapter)
        weight = module.get_base_layer().weight
        delta: Tensor = strength * ((weight + change) * channels - weight)
        return delta


class _Linear(_Carrier, lora.Linear):  # type: ignore[misc] # peft has no types
    """A linear layer with changes or magnitudes."""


class _Conv2d(_Carrier, lora.Conv2d):  # type: ignore[misc] # peft has no types
    """A convolution with changes or magnitudes."""


def _parts(module: Any, adapter: str) -> tuple[Tensor, float, Tensor]:
    """Return c, the strength s and the change D at full strength."""
    full, scaling = module.full_scaling[adapter], module.scaling[adapter]
    module.scaling[adapter] = full
    try:
        change = module.plain_delta(adapter)
    finally:
        module.scaling[adapter] = scaling
    return module.lora_channels[adapter](), scaling / full, change


def _linear_part(module: Any, x: Tensor) -> Tensor:
    """Return what the layer makes of x without its bias."""
    base = module.get_base_layer()
    y: Tensor = base(x.to(base.weight.dtype))
    return y if base.bias is None else y - _made_of_zeros(base, x)


def _made_of_zeros(layer: Any, x: Tensor) -> Tensor:
    """Return the bias of a layer that takes inputs like x, by running it: it may be kept elsewhere until it runs."""
    made: Tensor = layer(x.new_zeros(1, *layer.weight.shape[1:], dtype=layer.weight.dtype))
    return made[:, :, :1, :1] if made.ndim == 4 else made
