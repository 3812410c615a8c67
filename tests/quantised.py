"""Tiny pipelines whose networks are quantised, as users load them: GGUF, torchao and bitsandbytes."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tiny_pipelines import BUILDERS


def gguf_flux(folder: Path, *, kind: str = "Q8_0", change: float = 0.0, **options: Any) -> Any:
    """Return Flux with a transformer from a GGUF file, whose blocks are of that kind.

    Args:
        folder: gets the file and the pipeline.
        kind: one of GGML's types.
        change: is added to the weights before they are quantised.
        options: for loading, in place of those of float32.
    """
    import gguf
    from diffusers import FluxTransformer2DModel, GGUFQuantizationConfig

    pipe: Any = BUILDERS["flux-dev"]()
    pipe.save_pretrained(folder)
    quantised = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(folder / "network.gguf", "flux")
    for key, weight in pipe.transformer.state_dict().items():
        values = (weight + change).numpy().astype(np.float32)
        if values.ndim == 2 and values.shape[1] % 32 == 0 and "transformer_blocks" in key:
            writer.add_tensor(key, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    loading = {
        "quantization_config": GGUFQuantizationConfig(compute_dtype=torch.float32),
        "torch_dtype": torch.float32,
        **options,
    }
    pipe.transformer = FluxTransformer2DModel.from_single_file(
        str(folder / "network.gguf"), config=str(folder), subfolder="transformer", **loading
    )
    return pipe


def torchao(name: str, config: str, *, change: float = 0.0) -> Any:
    """Return a tiny pipeline whose network's linear layers are quantised by torchao.

    Args:
        name: of the pipeline.
        config: the name of a class in `torchao.quantization`.
        change: is added to the weights before they are quantised.
    """
    library: Any = importlib.import_module("torchao.quantization")
    pipe: Any = BUILDERS[name]()
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    _shift(network, change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.quantize_(network, getattr(library, config)())
    return pipe


def bitsandbytes(name: str, bits: int, *, change: float = 0.0, **options: Any) -> Any:
    """Return a tiny pipeline whose network has bitsandbytes' linear layers where diffusers would put them."""
    from bitsandbytes import nn as bnb_layers

    layers: Any = bnb_layers
    pipe: Any = BUILDERS[name]()
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    _shift(network, change)
    for owner in list(network.modules()):
        for key, layer in list(owner.named_children()):
            # Sides that its kernels take.
            if type(layer) is not nn.Linear or layer.in_features % 64 or layer.out_features % 32:
                continue
            shape = (layer.in_features, layer.out_features, layer.bias is not None)
            made: Any
            if bits == 8:
                made = layers.Linear8bitLt(*shape, has_fp16_weights=False)
            else:
                made = layers.Linear4bit(*shape, quant_type="nf4", **options)
            made.load_state_dict(layer.state_dict())
            setattr(owner, key, made.to("cpu").eval())
    return pipe


def _shift(network: nn.Module, change: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(change)


class Wrapped(Tensor):
    """A quantised weight as libraries make them: a tensor around others that knows no operation at all."""

    codes: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor) -> Wrapped:
        made: Any = Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.bfloat16)
        made.codes, made.scale = codes, scale
        wrapped: Wrapped = made
        return wrapped

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise NotImplementedError(f"{func} is not for {cls.__name__}")
