"""The parts of a pipeline that adapters are loaded into: found, loaded one by one, and cleared of an adapter again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.utils import get_peft_kwargs
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor


def model_in_words(pipe: Any) -> str:
    """Return what messages call the pipeline that adapters are for."""
    return f"this model, a {type(pipe).__name__}"


def networks(pipe: Any) -> dict[str, torch.nn.Module]:
    """Return all the networks of a pipeline, by their names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def adaptable(pipe: Any) -> dict[str, torch.nn.Module]:
    """Return the parts of a pipeline that diffusers can adapt, by their names."""
    own = networks(pipe)
    return {name: own[name] for name in getattr(pipe, "_lora_loadable_modules", ()) if name in own}


def load(pipe: Any, part: str, weights: Mapping[str, Tensor], adapter: str, settings: Mapping[str, Any] | None) -> None:
    """Load a LoRA into one part of a pipeline.

    Args:
        pipe: the pipeline.
        part: one of its `adaptable` parts.
        weights: both factors of each layer, by PEFT's names within the part.
        adapter: the name that the adapter gets.
        settings: PEFT's settings; None for full strength and the ranks of the weights.
    """
    network: Any = pipe.components[part]
    if hasattr(network, "load_lora_adapter"):
        network.load_lora_adapter(dict(weights), prefix=None, adapter_name=adapter, metadata=settings)
    elif settings is None:
        # Diffusers would have to tell by the names of some layers what the others are called.
        ranks = {f"^{name}": weight.shape[1] for name, weight in weights.items() if ".lora_B." in name}
        config = LoraConfig(**get_peft_kwargs(ranks, None, dict(weights)))
        network.load_adapter(adapter_name=adapter, adapter_state_dict=dict(weights), peft_config=config)
        network.to(device=network.device, dtype=network.dtype)
    else:
        pipe.load_lora_into_text_encoder(
            {f"{part}.{name}": weight for name, weight in weights.items()},
            network_alphas=None,
            text_encoder=network,
            prefix=part,
            adapter_name=adapter,
            metadata={f"{part}.{name}": value for name, value in settings.items()},
        )


def give_magnitudes(pipe: Any, adapter: str, magnitudes: Mapping[tuple[str, str], Tensor]) -> None:
    """Give layers that carry a DoRA by PEFT their magnitudes, by part and layer."""
    for (part, path), magnitude in magnitudes.items():
        own = pipe.components[part].get_submodule(path).lora_magnitude_vector[adapter].weight
        own.data = magnitude.to(own.device, own.dtype).reshape(own.shape)


def carrying(pipe: Any, adapter: str) -> dict[str, list[tuple[str, Any]]]:
    """Return the layers that carry an adapter, with their paths, for each network that has any."""
    found = {
        part: [
            (path, layer)
            for path, layer in network.named_modules()
            if isinstance(layer, BaseTunerLayer) and adapter in _adapters(layer)
        ]
        for part, network in networks(pipe).items()
    }
    return {part: layers for part, layers in found.items() if layers}


def _adapters(layer: Any) -> set[str]:
    return {name for attribute in layer.adapter_layer_names for name in getattr(layer, attribute, {})}


def remove(pipe: Any, adapter: str) -> None:
    """Take an adapter off a pipeline, if it is on it, and PEFT's layers too if no other adapter is left."""
    adapted = [network for network in networks(pipe).values() if hasattr(network, "peft_config")]
    for network in adapted:
        for layer in network.modules():
            if isinstance(layer, BaseTunerLayer) and adapter in _adapters(layer):
                layer.delete_adapter(adapter)
        own: Any = network.peft_config
        own.pop(adapter, None)
    if adapted and not any(network.peft_config for network in adapted):
        pipe.unload_lora_weights()
