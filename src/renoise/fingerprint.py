"""Telling models apart: an inversion made with one model means nothing to another.

The fingerprint holds a hash of the networks' layout, a few of their weights, and the adapters that are in force. It is
the same for one model in float32, float16 and bfloat16, on every device, compiled or not, and whatever its adapters are
called; it differs for other weights, and with or without a LoRA, or an IP-Adapter, or at another scale of either. A
LoRA that is fused into the weights makes other weights of them, and so does quantisation (see `renoise.weights`). It
can be taken of any network: what cannot be read is told by its place, shape and class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.lookups import named_modules
from renoise.weights import described, is_matrix, telling

# Enough to tell fine-tunes of one model apart, few enough to read in an instant.
SAMPLES_PER_NETWORK = 24
# bfloat16 keeps eight bits of a weight.
RELATIVE_TOLERANCE = 2.0**-7
ABSOLUTE_TOLERANCE = 1e-5

# What takes no part in drawing; what an image encoder sees for an IP-Adapter stands in the inversion itself.
_BESIDE = ("safety_checker", "image_encoder")
# What compiling and adapting put into the names of weights.
_ADDED = ("_orig_mod.", ".base_layer")
# What adapters put beside the weights: PEFT's LoRA, LoHa and LoKr, and what `renoise.loading.adapted` adds to it.
_FACTORS = (
    *("lora_A", "lora_B", "lora_magnitude_vector", "lora_channels", "lora_changes"),
    *(f"hada_{factor}" for factor in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *(f"lokr_{factor}" for factor in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
)
_ADAPTING = (".lora_", ".hada_", ".lokr_")
# A network's modules with their names.
_Modules = Sequence[tuple[str, torch.nn.Module]]
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def fingerprint(pipe: Any) -> dict[str, Any]:
    """Return what tells a pipeline's networks from others: the hash of their layout, some weights and the adapters.

    Returns:
        JSON-able data with the keys "layout", "weights" and "adapters".
    """
    layout: list[str] = []
    samples: list[float] = []
    adapters: list[str] = []
    for name, network in _networks(pipe):
        own: dict[str, Tensor] = {}
        adapting: dict[str, Tensor] = {}
        modules = named_modules(network)
        for key, parameter in _weights(modules):
            for added in _ADDED:
                key = key.replace(added, "")
            (adapting if any(mark in key for mark in _ADAPTING) else own)[key] = parameter
        layout += [f"{name}.{key}{described(p)}" for key, p in sorted(own.items())]
        samples += _sampled([p for _, p in sorted(own.items())])
        for adapter, scale in _loras(modules):
            factors = {f: _of_adapter(adapting, f, adapter) for f in _FACTORS}
            # DoRA has magnitudes besides: peft's, or those of other files (`renoise.loading.dora`).
            kind = "dora" if factors["lora_magnitude_vector"] or factors["lora_channels"] else "lora"
            adapters.append(f"{name}:{kind}*{scale:.4g}")
            # Its factors apart: a stride through both could meet one of them alone.
            for parameters in factors.values():
                samples += _sampled(parameters)
        adapters += [f"{name}:ip*{scale:.4g}" for scale in _ip_scales(modules)]
    digest = hashlib.sha256("\n".join(layout).encode()).hexdigest()[:16]
    return {"layout": digest, "weights": samples, "adapters": " ".join(adapters)}


def _networks(pipe: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, component in sorted(pipe.components.items()):
        if isinstance(component, torch.nn.Module) and name not in _BESIDE:
            yield name, component


def _of_adapter(adapting: Mapping[str, Tensor], factor: str, adapter: str) -> list[Tensor]:
    """Return the parameters of one factor of an adapter; vectors as matrices, since they tell as much."""
    own = [p for key, p in sorted(adapting.items()) if f".{factor}.{adapter}." in f"{key}."]
    return [p[None] if p.ndim == 1 else p for p in own]


def _weights(modules: _Modules) -> Iterator[tuple[str, Tensor]]:
    """Yield a network's weights with their names; some ways to quantise keep matrices of integers as buffers."""
    met: set[int] = set()
    for prefix, module in modules:
        for key, parameter in module.named_parameters(prefix, recurse=False):
            # Modules may share a weight.
            if id(parameter) not in met:
                met.add(id(parameter))
                yield key, parameter
        for key, buffer in module.named_buffers(prefix, recurse=False):
            # Positions are integers as well, in a single row.
            if is_matrix(buffer) and buffer.shape[0] > 1 and buffer.dtype in _INTEGERS:
                yield key, buffer


def _sampled(weights: Sequence[Tensor]) -> list[float]:
    # Biases and norms may all be 0 or 1; sequential offloading leaves parameters without data on "meta".
    matrices = [p for p in weights if is_matrix(p) and p.device.type != "meta"]
    return [number for p in matrices[:: max(1, len(matrices) // SAMPLES_PER_NETWORK)] for number in telling(p)]


def _loras(modules: _Modules) -> list[tuple[str, float]]:
    """Return the LoRA adapters in force, and the scale of each in the layer where it is largest, up or down."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found: dict[str, float] = {}
    for _, layer in modules:
        if isinstance(layer, BaseTunerLayer) and not layer.disable_adapters:
            scaling = getattr(layer, "scaling", {})
            for adapter in layer.active_adapters:
                if adapter in scaling:
                    found[adapter] = max(found.get(adapter, 0.0), float(scaling[adapter]), key=abs)
    return list(found.items())


def _ip_scales(modules: _Modules) -> list[float]:
    """Return the scales of the IP-Adapters: every value that occurs in a layer, once."""
    scales: dict[float, None] = {}
    for _, layer in modules:
        processor: Any = getattr(layer, "processor", None)
        if "IPAdapter" in type(processor).__name__:
            own = processor.scale
            for scale in own if isinstance(own, (list, tuple)) else [own]:
                # A separate scale for each image is a list once more.
                for value in scale if isinstance(scale, (list, tuple)) else [scale]:
                    scales[float(value)] = None
    return list(scales)


def same_model(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Tell whether two fingerprints are of one model, whatever their precision."""
    if (a["layout"], a["adapters"]) != (b["layout"], b["adapters"]):
        return False
    if len(a["weights"]) != len(b["weights"]):
        # One of them was taken while its weights were offloaded: the layout is all there is to compare.
        return True
    return torch.allclose(
        torch.tensor(a["weights"], dtype=torch.float64),
        torch.tensor(b["weights"], dtype=torch.float64),
        rtol=RELATIVE_TOLERANCE,
        atol=ABSOLUTE_TOLERANCE,
    )
