"""The floating-point type in which a network takes its inputs, quantised or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from renoise.errors import ModelError
from renoise.lookups import named_modules

if TYPE_CHECKING:
    import torch


def input_dtype(pipe: Any, network: Any) -> torch.dtype:
    """Return the type of the network's inputs: its own or, if it has none to compute in, its text encoders'.

    A network may be all integers, or in one of the 8-bit types, in which nothing is computed. Diffusers' pipelines take
    the type of the embeddings then.
    """
    import torch

    computing = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    dtype: torch.dtype = network.dtype
    if dtype in computing:
        return dtype
    encoders = [part for name, part in pipe.components.items() if name.startswith("text_encoder") and part is not None]
    return next((part.dtype for part in encoders if part.dtype in computing), torch.float32)


def require_one_precision(network: Any, dtype: torch.dtype) -> None:
    """Check that layers that were read from a GGUF file compute in the type of the others, which do not convert.

    Raises:
        ModelError: if they compute in another one.
    """
    for _, module in named_modules(network):
        own = getattr(module, "compute_dtype", None)
        # A GGUF layer knows the type of its blocks; layers of other libraries convert their inputs themselves.
        if own is not None and own != dtype and hasattr(getattr(module, "weight", None), "as_tensor"):
            raise ModelError(
                f"the network's GGUF layers compute in {own}, and its other layers in {dtype}",
                remedy="load it with one type: GGUFQuantizationConfig(compute_dtype=...) and torch_dtype alike",
            )
