"""Adapters put into force on the layers that the names in their files mean.

Diffusers loads a LoRA for each of the layers: the file's own, or one of rank one that changes nothing. In the second
case the layers then carry what the file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from renoise.errors import ModelError
from renoise.loading import adapter_parts, dora
from renoise.loading.adapted import carries_others, give_change
from renoise.loading.adapter_change import Change
from renoise.loading.adapter_forms import Form
from renoise.loading.adapter_places import Place, places


@dataclass(frozen=True)
class Placed:
    """The form of one layer, at the place that its name means.

    Attributes:
        name: the name of the layer in the file.
        form: what the file holds of it.
        place: the layer of the pipeline.
        shape: the shape of that layer's weight.
    """

    name: str
    form: Form
    place: Place
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """How the forms of a file fit a pipeline.

    Attributes:
        placed: what is to be put into force, by part and layer.
        missing: the names of the file's layers that the pipeline does not have.
        unfit: the names of those whose weight is no matrix, such as norms: PEFT's layers cannot carry their change.
        problem: why they do not fit, after the words "the LoRA ..."; None if they do.
    """

    placed: Mapping[tuple[str, str], Placed] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    problem: str | None = None


def fit(pipe: Any, forms: Mapping[str, Form]) -> Fit:
    """Find out how the forms of a file fit a pipeline, which is not changed.

    Args:
        pipe: the pipeline.
        forms: what the file holds, by the names of its layers.
    """
    parts = adapter_parts.adaptable(pipe)
    found = places(pipe, parts, {name: form.outputs for name, form in forms.items()})
    placed: dict[tuple[str, str], Placed] = {}
    for name, meant in found.items():
        for place in meant:
            base: Any = parts[place.part].get_submodule(place.layer)
            base = getattr(base, "base_layer", base)
            if not isinstance(base, torch.nn.Linear) and not (isinstance(base, torch.nn.Conv2d) and base.groups == 1):
                continue
            one = Placed(name, forms[name], place, tuple(base.weight.shape))
            if not _fits(one):
                sizes = ", ".join(_sides(factor.shape) for factor in one.form.factors.values())
                fault = f"{name} ({sizes}) is no change of a weight of {_sides(one.shape)}"
                return Fit(problem=f"does not fit {adapter_parts.model_in_words(pipe)}: {fault}")
            other = placed.setdefault((place.part, place.layer), one)
            if other is not one:
                return Fit(problem=f"has two changes for the layer {place.layer}, {other.name} and {name}")
    used = {one.name for one in placed.values()}
    left = [name for name, form in forms.items() if name not in used and not form.changes_nothing]
    missing, unfit = ([name for name in left if (name in found) == is_found] for is_found in (False, True))
    return Fit(placed, tuple(missing), tuple(unfit))


def _fits(one: Placed) -> bool:
    rows = sum(taken.stop - taken.start for taken in one.place.rows)
    return rows == one.shape[0] and one.form.fits((one.form.outputs, *one.shape[1:]))


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def apply(pipe: Any, label: str, adapter: str, found: Fit) -> None:
    """Put what a file holds into force on a pipeline.

    Args:
        pipe: the pipeline, which is changed.
        label: the name by which messages call the file.
        adapter: the name that the adapter gets.
        found: how the file fits the pipeline.

    Raises:
        ModelError: if the layers cannot carry it. The adapter is then on the pipeline in part.
    """
    parts = adapter_parts.adaptable(pipe)
    for part, weights in _stand_ins(found.placed).items():
        adapter_parts.load(pipe, part, weights, adapter, None)
    decomposed = [one for one in found.placed.values() if one.form.magnitudes is not None]
    failed = 0
    for (part, path), one in found.placed.items():
        layer = parts[part].get_submodule(path)
        _carry(layer, label, adapter, one)
        if one.form.magnitudes is not None and not _decomposed(layer, adapter, one, one.form.magnitudes):
            failed += 1
    if failed:
        problem = f"the LoRA {label} is a DoRA, and {failed} of its {len(decomposed)} magnitudes fit no layer of "
        raise ModelError(
            problem + adapter_parts.model_in_words(pipe), argument="lora", remedy="take a LoRA without magnitudes"
        )


def _stand_ins(placed: Mapping[tuple[str, str], Placed]) -> dict[str, dict[str, Tensor]]:
    """Return the weights that diffusers loads: those of plain LoRA, and for the others such as change nothing."""
    weights: dict[str, dict[str, Tensor]] = {}
    for (part, layer), one in placed.items():
        sides = one.shape[2:]
        if one.form.kind == "pair":
            down, up = one.form.factors["down"], _taken(one.form.factors["up"], one.place)
            down, up = down.reshape(-1, one.shape[1], *sides), up.flatten(1)
            if one.form.bias is not None:
                up = up * one.form.scale
        else:
            down, up = torch.zeros(1, one.shape[1], *sides), torch.zeros(one.shape[0], 1)
        own = weights.setdefault(part, {})
        own[f"{layer}.lora_A.weight"] = down.contiguous()
        own[f"{layer}.lora_B.weight"] = up.reshape(*up.shape, *(1 for _ in sides)).contiguous()
    return weights


def _carry(layer: Any, label: str, adapter: str, one: Placed) -> None:
    """Make a loaded layer carry its change and its bias."""
    form = one.form
    if form.kind == "pair":
        # The change of a bias is not scaled as that of the weight is, which `_stand_ins` has then scaled.
        layer.lora_alpha[adapter] = (form.scale if form.bias is None else 1.0) * layer.r[adapter]
        layer.set_scale(adapter, 1.0)
    elif form.factors:
        if not carries_others(layer):
            problem = f"the LoRA {label} changes the layer {one.place.layer}, whose weights are quantised"
            raise ModelError(problem, argument="lora", remedy="load the model unquantised, or take a plain LoRA")
        base = layer.get_base_layer()
        change = Change(form, one.place.rows, layer.lora_A[adapter].weight.dtype, base)
        give_change(layer, adapter, change.to(base.weight.device))
    if form.bias is not None:
        second = layer.lora_B[adapter]
        bias = _taken(form.bias, one.place).to(second.weight.device, second.weight.dtype)
        second.bias = torch.nn.Parameter(bias.contiguous(), requires_grad=False)
        layer.lora_bias[adapter] = True


def _decomposed(layer: Any, adapter: str, one: Placed, magnitudes: Tensor) -> bool:
    """Give a layer its magnitudes; False if they do not fit it, or are of the inputs of several layers together."""
    if magnitudes.ndim > 0 and magnitudes.shape[0] == one.form.outputs:
        return dora.decompose(layer, adapter, _taken(magnitudes, one.place))
    return one.form.outputs == one.shape[0] and dora.decompose(layer, adapter, magnitudes)


def _taken(tensor: Tensor, place: Place) -> Tensor:
    return torch.cat([tensor[rows] for rows in place.rows])
