"""Files of LoRA weights: what they hold, brought to the names that diffusers reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from renoise.errors import ModelError
from renoise.loading.dora import Magnitudes
from renoise.loading.folders import PEFT_SETTINGS, PEFT_WEIGHTS
from renoise.reading import parse_json, read_json

# What PEFT puts before the names of the network that it adapts.
_PEFT_PREFIX = "base_model.model."
_DORA = ".dora_scale"
# The pairs of names that factors have beside magnitudes.
_FACTORS = ((".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight"))
# The settings of PEFT that decide what weights do; the others are about training, or follow from the weights.
_SETTINGS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "lora_bias")
# Where `save_lora_adapter` of diffusers' networks writes the same settings.
_HEADER = "lora_adapter_metadata"


@dataclass(frozen=True)
class AdapterFile:
    """The weights of a LoRA.

    Attributes:
        weights: the tensors by the names that diffusers reads; None if it can read the file itself.
        magnitudes: those of a DoRA, which diffusers leaves out.
        part: the part of the pipeline that the names belong to, where they do not say so.
        settings: PEFT's settings; None if there are none.
    """

    weights: dict[str, Tensor] | None = None
    magnitudes: tuple[Magnitudes, ...] = ()
    part: str | None = None
    settings: Mapping[str, Any] | None = None


def read(path: Path, parts: Mapping[str, torch.nn.Module]) -> AdapterFile:
    """Read a file of LoRA weights.

    Args:
        path: a .safetensors file.
        parts: the parts of the pipeline that a LoRA can be for, by their names.

    Raises:
        ModelError: if the strength of its weights or the layers of its magnitudes are not known.
    """
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        by_peft = all(name.startswith(_PEFT_PREFIX) for name in names)
        short = {name: name.removeprefix(_PEFT_PREFIX) for name in names}
        part = next((part for part in parts if by_peft and all(n.startswith(f"{part}.") for n in short.values())), None)
        if part is not None:
            short = {name: rest.removeprefix(f"{part}.") for name, rest in short.items()}
        else:
            part = _part_of({rest: file.get_slice(name).get_shape() for name, rest in short.items()}, parts)
        if part is None and by_peft:
            raise ModelError(
                f"{path} was made by PEFT for another network than this model's, with layers such as {names[0]}",
                argument="lora",
                remedy="take a LoRA that is made for it, or the LoRA's own base model",
            )
        if part is None and not any(name.endswith(_DORA) for name in names):
            return AdapterFile()
        header = file.metadata() or {}
        weights = {rest: file.get_tensor(name) for name, rest in short.items()}
    if part is not None:
        return AdapterFile(weights, (), part, _settings(path, by_peft, header, weights))
    magnitudes = []
    for name in [name for name in weights if name.endswith(_DORA)]:
        scale, layer = weights.pop(name), name.removesuffix(_DORA)
        pair = next(((down, up) for down, up in _FACTORS if layer + down in weights and layer + up in weights), None)
        if pair is None:
            raise ModelError(f"{path} is a DoRA whose layer {layer} has no factors that can be read", argument="lora")
        magnitudes.append(Magnitudes(weights[layer + pair[0]], weights[layer + pair[1]], scale))
    return AdapterFile(weights, tuple(magnitudes))


def _part_of(shapes: Mapping[str, Sequence[int]], parts: Mapping[str, torch.nn.Module]) -> str | None:
    """Return the part whose own layers the names begin with, as those of PEFT and of older files do."""
    beginnings = {name.partition(".")[0] for name in shapes}
    for part, network in parts.items():
        layers = dict(network.named_modules())
        if beginnings <= _roots(network) and all(_fits(layers, name, shape) for name, shape in shapes.items()):
            return part
    return None


def _roots(network: torch.nn.Module) -> set[str]:
    """Return the names of a network's outermost layers; text encoders were once wrapped in one more."""
    own = {name for name, _ in network.named_children()}
    return own | {"text_model"} if "encoder" in own and "embeddings" in own else own


def _fits(layers: Mapping[str, torch.nn.Module], name: str, shape: Sequence[int]) -> bool:
    """Tell whether a factor A has the width of its layer; True for other weights, and for layers that are not there."""
    layer, factor, _ = name.partition(".lora_A.")
    weight = getattr(layers.get(layer.removeprefix("text_model.")), "weight", None) if factor else None
    return weight is None or len(shape) < 2 or weight.ndim < 2 or weight.shape[1] == shape[1]


def _settings(
    path: Path, by_peft: bool, header: Mapping[str, str], weights: Mapping[str, Tensor]
) -> dict[str, Any] | None:
    """Return PEFT's settings of a file, from beside it or from its header."""
    beside = path.parent / PEFT_SETTINGS
    if path.name == PEFT_WEIGHTS and beside.is_file():
        settings = read_json(beside, ModelError)
    elif _HEADER in header:
        settings = parse_json(header[_HEADER].encode(), f"the header of {path}", ModelError)
    elif by_peft:
        raise ModelError(
            f"{path} has no {PEFT_SETTINGS} beside it, which says how strong its weights are",
            argument="lora",
            remedy="give the folder that PEFT saved",
        )
    else:
        return None
    kind = settings.get("peft_type", "LORA") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise ModelError(f"{path} is of the kind {kind}, which is not read", argument="lora", remedy="take a LoRA")
    own = {name: settings[name] for name in _SETTINGS if settings.get(name) is not None}
    ranks = own.get("rank_pattern", {})
    most = max((weight.shape[0] for name, weight in weights.items() if "_A" in name and weight.ndim > 1), default=1)
    if not isinstance(ranks, dict) or not all(_is_rank(rank) for rank in (own.get("r"), *ranks.values())):
        raise ModelError(f"the settings of {path} are not those of a LoRA", argument="lora")
    # A rank that no layer has may stand for those that a pattern names; PEFT would make room for it all the same.
    own["rank_pattern"] = {layer: min(rank, most) for layer, rank in ranks.items()}
    return {**own, "r": min(own["r"], most)}


def _is_rank(rank: Any) -> bool:
    return isinstance(rank, int) and not isinstance(rank, bool) and rank > 0
