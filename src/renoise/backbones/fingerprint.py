"""Telling models apart: an inversion made with one model means nothing to another.

The fingerprint holds a hash of the networks' layout, a few of their weights, and the adapters that are active. It is
the same for one model in float32, float16 and bfloat16, on every device, compiled or not; it differs for other weights,
and with or without a LoRA adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

# Enough to tell fine-tunes of one model apart, few enough to read in an instant.
SAMPLES_PER_NETWORK = 24
# bfloat16 keeps eight bits of a weight.
RELATIVE_TOLERANCE = 2.0**-7
ABSOLUTE_TOLERANCE = 1e-5

_NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


def fingerprint(pipe: Any) -> dict[str, Any]:
    """The layout hash and sampled weights of a pipeline's networks, as JSON-able data."""
    layout, samples = [], []
    for network in _NETWORKS:
        module = getattr(pipe, network, None)
        if not isinstance(module, torch.nn.Module):
            continue
        parameters = sorted((name.replace("_orig_mod.", ""), p) for name, p in module.named_parameters())
        layout += [f"{network}.{name}{tuple(p.shape)}" for name, p in parameters]
        # Biases and norms may all be 0 or 1; sequential offloading leaves parameters without data on "meta".
        telling = [p for _, p in parameters if p.ndim >= 2 and p.device.type != "meta"]
        for p in telling[:: max(1, len(telling) // SAMPLES_PER_NETWORK)]:
            samples.append(float(p.detach().flatten()[p.numel() // 2]))
    digest = hashlib.sha256("\n".join(layout).encode()).hexdigest()[:16]
    return {"layout": digest, "weights": samples, "adapters": _adapters(pipe)}


def _adapters(pipe: Any) -> str:
    """The adapters in force and their scales, of every network that has any."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found: set[str] = set()
    for network in _NETWORKS:
        module = getattr(pipe, network, None)
        for layer in module.modules() if isinstance(module, torch.nn.Module) else ():
            if isinstance(layer, BaseTunerLayer) and not layer.disable_adapters:
                scaling = getattr(layer, "scaling", {})
                found |= {f"{network}:{name}*{float(scaling.get(name, 1.0)):.4g}" for name in layer.active_adapters}
    return " ".join(sorted(found))


def same_model(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of one model, whatever their precision."""
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
