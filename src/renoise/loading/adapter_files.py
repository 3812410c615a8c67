"""Files of adapters: what they hold, brought to the names that diffusers reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading import adapter_forms, adapter_parts
from renoise.loading.adapter_checks import advice, require_both, require_sound, strays, without_adapter_name
from renoise.loading.adapter_places import by_peft, converted, known, places
from renoise.loading.adapter_settings import HEADER, scales, settings_of
from renoise.loading.applying import Fit, fit
from renoise.loading.folders import PEFT_SETTINGS

# What PEFT puts before the names of the network that it adapts.
_PEFT_PREFIX = "base_model.model."
# How PEFT calls the magnitudes of a DoRA.
_MAGNITUDES = ".lora_magnitude_vector"


@dataclass(frozen=True)
class AdapterFile:
    """What a file of an adapter holds.

    Attributes:
        names: the names of its tensors.
        weights: the tensors by the names that diffusers reads; None if it can read the file itself.
        part: the part of the pipeline that the names belong to, where they do not say so.
        settings: PEFT's settings; None if there are none.
        fit: the layers that carry what the file holds; None if diffusers loads the file.
        magnitudes: those of a DoRA by PEFT in text encoders, by part and layer: transformers does not load them.
        remarks: what of the file is not used, in words.
        advice: what to do if it does not fit the pipeline.
    """

    names: tuple[str, ...]
    advice: str
    weights: dict[str, Tensor] | None = None
    part: str | None = None
    settings: Mapping[str, Any] | None = None
    fit: Fit | None = None
    magnitudes: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def read(path: Path, pipe: Any) -> AdapterFile:
    """Read a file of an adapter.

    Args:
        path: a .safetensors file.
        pipe: the pipeline that it is for, which is not changed.

    Raises:
        ModelError: if it is broken, does not fit the pipeline, or does not say how strong its weights are.
    """
    parts = adapter_parts.adaptable(pipe)
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    idle = require_sound(path, tensors)
    others = strays(tensors)
    _require_no_whole(path, others, parts)
    tensors = without_adapter_name(path, {name: tensor for name, tensor in tensors.items() if name not in others})
    found = AdapterFile(tuple(tensors), advice(header), remarks=tuple(_left_out(others, idle)))
    of_peft = all(name.startswith(_PEFT_PREFIX) for name in tensors)
    part, weights = _within_part(tensors, of_peft, parts)
    if any(mark in name for name in tensors for mark in adapter_forms.MARKS):
        settings = settings_of(path, header, weights, ("LOHA", "LOKR")) if of_peft or part is not None else None
        if of_peft and settings is None and part is not None:
            raise _without_settings(path)
        return _formed(path, pipe, replace(found, part=part, settings=settings), tensors if part is None else weights)
    settings = None if part is None else settings_of(path, header, weights, ("LORA",))
    if part is not None and settings is not None:
        require_both(path, weights)
        magnitudes = _magnitudes(pipe, parts, {f"{part}.{name}": weight for name, weight in weights.items()})
        return replace(found, weights=weights, part=part, settings=settings, magnitudes=magnitudes)
    forms, left, incomplete = adapter_forms.read(tensors)
    # Diffusers reads the settings in a header that are about a whole pipeline.
    spelt = Fit() if left or incomplete or HEADER in header else fit(pipe, forms)
    if spelt.placed and not spelt.missing:
        return replace(found, fit=spelt)
    found = replace(found, magnitudes=_magnitudes(pipe, parts, tensors))
    is_own = part is not None and not of_peft
    if is_own:
        taken = {f"{part}.{name}": weight for name, weight in by_peft(weights).items()}
    else:
        taken = converted(pipe, tensors)
        _require_room(path, pipe, taken, found.advice)
    # What diffusers loads of the file counts, unless the names tell of as many layers, or of more.
    if not known(taken, parts) <= spelt.placed.keys():
        require_both(path, taken)
        return replace(found, weights=weights, part=part) if is_own else found
    if spelt.problem is not None:
        raise _unfit(path, spelt.problem, found)
    if of_peft and not spelt.placed:
        raise _without_settings(path) if part is not None else _of_another_network(path, found)
    return replace(found, fit=spelt)


def _require_no_whole(path: Path, others: Iterable[str], parts: Mapping[str, torch.nn.Module]) -> None:
    """Refuse whole weights of the pipeline's own layers, which would replace them for good."""
    own = {
        part: {name.replace(".base_layer.", ".") for name in network.state_dict()} for part, network in parts.items()
    }
    for name in others:
        plain = name.removeprefix(_PEFT_PREFIX).replace(".base_layer.", ".")
        for part, weights in own.items():
            layer = plain.removeprefix(f"{part}.")
            if layer in weights or layer.removeprefix("text_model.") in weights:
                problem = f"the LoRA {path} holds whole weights as well, such as {name}, which are not read"
                raise ModelError(problem, argument="lora", remedy="take a LoRA, or a model that it is merged into")


def _left_out(others: Collection[str], idle: Sequence[str]) -> Iterator[str]:
    """Yield what of a file is not used, in words."""
    if idle:
        yield f"{len(idle)} alphas are 0, such as {idle[0]}"
    if others:
        yield f"{len(others)} tensors are of no known kind, such as {next(iter(others))}"


def _magnitudes(
    pipe: Any, parts: Mapping[str, torch.nn.Module], tensors: Mapping[str, Tensor]
) -> dict[tuple[str, str], Tensor]:
    """Return the magnitudes of a DoRA by PEFT in text encoders, by part and layer."""
    encoders = {part: network for part, network in parts.items() if part.startswith("text_encoder")}
    held = {name.partition(_MAGNITUDES)[0]: tensor for name, tensor in tensors.items() if _MAGNITUDES in name}
    held = {name: tensor for name, tensor in held.items() if name.startswith("text_encoder")}
    meant = places(pipe, encoders, {name: len(tensor) for name, tensor in held.items()}) if held else {}
    return {(place.part, place.layer): held[name] for name, found in meant.items() for place in found}


def _without_settings(path: Path) -> ModelError:
    return ModelError(
        f"{path} has no {PEFT_SETTINGS} beside it, which says how strong its weights are",
        argument="lora",
        remedy="give the folder that PEFT saved",
    )


def _unfit(path: Path, problem: str, found: AdapterFile) -> ModelError:
    return ModelError(f"the LoRA {path} {problem}", argument="lora", remedy=found.advice)


def _of_another_network(path: Path, found: AdapterFile) -> ModelError:
    told = shown(found.names[0], 200)
    problem = f"{path} was made by PEFT for another network than this model's, with layers such as {told}"
    return ModelError(problem, argument="lora", remedy=found.advice)


def _within_part(
    tensors: Mapping[str, Tensor], of_peft: bool, parts: Mapping[str, torch.nn.Module]
) -> tuple[str | None, dict[str, Tensor]]:
    """Return the part of the pipeline that all names belong to, and the weights by their names without PEFT's own."""
    weights = {name.removeprefix(_PEFT_PREFIX) if of_peft else name: tensor for name, tensor in tensors.items()}
    for part in parts:
        if of_peft and all(name.startswith(f"{part}.") for name in weights):
            return part, {name.removeprefix(f"{part}."): weight for name, weight in weights.items()}
    return _part_of({name: weight.shape for name, weight in weights.items()}, parts), weights


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


def _formed(path: Path, pipe: Any, found: AdapterFile, tensors: Mapping[str, Tensor]) -> AdapterFile:
    """Return a file whose layers carry what it holds, in other forms than diffusers reads."""
    forms, left, incomplete = adapter_forms.read(tensors)
    if incomplete is not None:
        fault = f"the LoRA {path} is not complete: the layer {incomplete} has no factors that can be read"
        raise ModelError(fault, argument="lora", remedy="download it again, or take another file of it")
    if found.settings is not None:
        strengths = scales(path, found.settings, forms)
        forms = {name: replace(form, scale=strengths[name]) for name, form in forms.items()}
    if found.part is not None:
        forms = {f"{found.part}.{name}": form for name, form in forms.items()}
    made = fit(pipe, forms)
    if made.problem is not None:
        raise _unfit(path, made.problem, found)
    remarks = list(found.remarks)
    if left:
        remarks.append(f"{len(left)} tensors are of no known kind, such as {left[0]}")
    if made.unfit:
        remarks.append(
            f"{len(made.unfit)} changes are of norms and the like, which carry none, such as {made.unfit[0]}"
        )
    return replace(found, fit=made, remarks=tuple(remarks))


def _require_room(path: Path, pipe: Any, taken: Mapping[str, Tensor], remedy: str) -> None:
    """Refuse factors that are larger than their layers: diffusers would enlarge the layers of some pipelines."""
    layers = {part: dict(network.named_modules()) for part, network in adapter_parts.adaptable(pipe).items()}
    for name, weight in taken.items():
        part, _, rest = name.partition(".")
        for mark, dimension in ((".lora_A.", 1), (".lora_B.", 0)):
            layer, is_factor, _ = rest.partition(mark)
            base = layers.get(part, {}).get(layer) if is_factor else None
            own = getattr(getattr(base, "base_layer", base), "weight", None)
            if not isinstance(own, Tensor) or own.ndim < 2 or weight.ndim < 2:
                continue
            if weight.shape[dimension] > own.shape[dimension]:
                sides, room = ("x".join(map(str, shape)) for shape in (weight.shape, own.shape))
                model = adapter_parts.model_in_words(pipe)
                problem = f"the LoRA {path} does not fit {model}: {name} is {sides}, too large for a weight of {room}"
                raise ModelError(problem, argument="lora", remedy=remedy)
