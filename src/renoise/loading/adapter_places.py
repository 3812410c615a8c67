"""Which layers of a pipeline the names in an adapter's file mean.

Training tools name a layer by its path in the network that they trained, often with underscores for the dots. Where
that is diffusers' own network, the path is looked up, and where it is the original's, its name. Other names are given
to the pipeline's own conversion of LoRA names, with numbers for weights: what comes out tells the layer, and which rows
of it, if a file joins layers that diffusers keeps apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers.utils import convert_unet_state_dict_to_peft
from torch import Tensor

from renoise.loading.adapter_originals import originals
from renoise.loading.remarks import heard

_Meant = TypeVar("_Meant")

# How the names of a denoising network begin by kohya's scripts, by ComfyUI and in whole checkpoints.
_KOHYA, _COMFYUI, _WHOLE = "lora_unet_", "diffusion_model.", "model.diffusion_model."
# How names begin, with the parts of a pipeline that they are then about; none means any.
_BEGINNINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lora_te1_", ("text_encoder",)),
    ("lora_te2_", ("text_encoder_2",)),
    ("lora_te3_", ("text_encoder_3",)),
    ("lora_te_", ("text_encoder",)),
    ("text_encoders.clip_l.transformer.", ("text_encoder",)),
    ("text_encoders.clip_g.transformer.", ("text_encoder_2",)),
    ("text_encoder.", ("text_encoder",)),
    ("text_encoder_2.", ("text_encoder_2",)),
    ("text_encoder_3.", ("text_encoder_3",)),
    (_KOHYA, ("unet", "transformer")),
    ("lora_transformer_", ("transformer",)),
    ("lycoris_", ("unet", "transformer", "text_encoder")),
    (_COMFYUI, ("unet", "transformer")),
    (_WHOLE, ("unet", "transformer")),
    ("unet.", ("unet",)),
    ("transformer.", ("transformer",)),
    ("", ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")),
)
# The names of factors for which one or another pipeline's conversion asks.
_PAIRS = ((".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight"))

_NUMBER = re.compile(r"[0-9]+")
# Of how many names that differ in their numbers alone each is asked about, if all together are not known: more than any
# network has.
_MOST_ALONE = 200


@dataclass(frozen=True)
class Place:
    """A layer that a name means.

    Attributes:
        part: the part of the pipeline.
        layer: the path of the layer in it.
        rows: the rows of the file's weight that are the layer's, in the layer's order; none if the weight has other
            rows than the layers that it is for.
    """

    part: str
    layer: str
    rows: tuple[slice, ...]


def places(pipe: Any, parts: Mapping[str, torch.nn.Module], outputs: Mapping[str, int]) -> dict[str, list[Place]]:
    """Find the layers that names mean.

    Args:
        pipe: the pipeline; it is not changed.
        parts: the parts of it that can be adapted, by their names.
        outputs: the names of layers as a file writes them, with the number of rows of each one's weight.

    Returns:
        The layers by the names of the file. A name that means no layer of the pipeline is left out.
    """
    paths = {part: _paths(network) for part, network in parts.items()}
    names = {part: originals(network) for part, network in parts.items()}
    found: dict[str, list[Place]] = {}
    for name, rows in outputs.items():
        place = next(_spelt(name, paths), None)
        original = next(_spelt(name, names), None)
        if place is not None:
            found[name] = [Place(*place, (slice(0, rows),))]
        elif original is not None:
            part, layers = original
            fits = rows == max(taken.stop for layer in layers for taken in layer.rows)
            found[name] = [Place(part, layer.layer, layer.rows if fits else ()) for layer in layers]
    # A weight with more rows than all layers together is none of theirs.
    most = sum(weight.shape[0] for network in parts.values() for weight in network.parameters() if weight.ndim > 1)
    others = {name: rows for name, rows in outputs.items() if name not in found and rows <= most}
    return found | (_by_conversion(pipe, parts, others) if others else {})


def _paths(network: torch.nn.Module) -> dict[str, str]:
    """Return the paths of the layers with weights by themselves, and by themselves with underscores."""
    own = [name for name, module in network.named_modules() if isinstance(getattr(module, "weight", None), Tensor)]
    flat: dict[str, list[str]] = {}
    for path in {name.removesuffix(".base_layer") for name in own if ".lora_" not in name}:
        # Text encoders were once wrapped in one more module.
        for spelt in {path, path.replace(".", "_"), f"text_model.{path}", f"text_model_{path.replace('.', '_')}"}:
            flat.setdefault(spelt, []).append(path)
    return {spelt: meant[0] for spelt, meant in flat.items() if len(meant) == 1}


def _spelt(name: str, names: Mapping[str, Mapping[str, _Meant]]) -> Iterator[tuple[str, _Meant]]:
    """Yield the part, and what a name means in it, for the beginnings that names may have."""
    for beginning, parts in _BEGINNINGS:
        if name.startswith(beginning):
            for part in parts:
                meant = names.get(part, {}).get(name.removeprefix(beginning))
                if meant is not None:
                    yield part, meant


def _by_conversion(
    pipe: Any, parts: Mapping[str, torch.nn.Module], outputs: Mapping[str, int]
) -> dict[str, list[Place]]:
    """Find layers by the pipeline's own conversion of names."""
    found = _best(pipe, parts, outputs)
    if found:
        return found
    # A conversion that meets one name that it does not know may fail for all of them. Names that differ in their
    # numbers alone are mostly known together, or not at all.
    alike: dict[str, dict[str, int]] = {}
    for name, rows in outputs.items():
        alike.setdefault(_NUMBER.sub("0", name), {})[name] = rows
    for some in alike.values():
        those = _best(pipe, parts, some) if len(some) < len(outputs) else {}
        found |= those
        for name, rows in some.items() if not those and 1 < len(some) <= _MOST_ALONE else ():
            found |= _best(pipe, parts, {name: rows})
    return found


def _best(pipe: Any, parts: Mapping[str, torch.nn.Module], outputs: Mapping[str, int]) -> dict[str, list[Place]]:
    answers = [_numbered(pipe, parts, outputs, pair, spelt) for spelt in (str, _by_kohya) for pair in _PAIRS]
    return max(answers, key=len)


def _by_kohya(name: str) -> str:
    """Return a name of ComfyUI as kohya's scripts spell it, since more conversions know those."""
    for beginning in (_WHOLE, _COMFYUI):
        if name.startswith(beginning):
            return _KOHYA + name.removeprefix(beginning).replace(".", "_")
    return name


def _numbered(
    pipe: Any,
    parts: Mapping[str, torch.nn.Module],
    outputs: Mapping[str, int],
    pair: tuple[str, str],
    spelt: Callable[[str], str],
) -> dict[str, list[Place]]:
    """Find layers by the conversion of one pair of names: A tells the number of the name, B those of the rows."""
    numbered: dict[str, Tensor] = {}
    for number, (name, rows) in enumerate(outputs.items()):
        numbered[spelt(name) + pair[0]] = torch.tensor([[float(number)]])
        numbered[spelt(name) + pair[1]] = torch.arange(float(rows))[:, None]
    made = converted(pipe, numbered)
    names, found = list(outputs), dict[str, list[Place]]()
    for key, weight in made.items():
        path, is_first, _ = key.partition(".lora_A.")
        second = made.get(f"{path}.lora_B.weight")
        place = _within(parts, path)
        if is_first and second is not None and place is not None:
            taken = _slices(second.flatten().long().tolist())
            found.setdefault(names[int(weight.flatten()[0])], []).append(Place(*place, taken))
    return found


def _within(parts: Mapping[str, torch.nn.Module], path: str) -> tuple[str, str] | None:
    """Return the part and the layer that a path means; conversions leave the part out of the names of some layers."""
    part, _, layer = path.partition(".")
    if part in parts and _layer(parts[part], layer) is not None:
        return part, layer
    return next(((part, path) for part, network in parts.items() if _layer(network, path) is not None), None)


def converted(pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return LoRA weights by diffusers' names with their part, as the pipeline's own conversion makes them.

    What the pipeline cannot convert is nothing. Neither the pipeline nor the tensors are changed.
    """
    own = {name: tensor.clone() for name, tensor in tensors.items()}  # some conversions scale them in place
    options = {"unet_config": pipe.unet.config} if hasattr(pipe, "unet") else {}
    try:
        with heard():  # it is asked about names that it does not know, and would report each
            made = pipe.lora_state_dict(own, **options)
    except Exception:  # the conversions raise many sorts of errors for names that they do not know
        return {}
    weights: dict[str, Tensor] = made[0] if isinstance(made, tuple) else made
    renamed: dict[str, Tensor] = {}
    for part in {name.partition(".")[0] for name in weights}:
        of_part = {name.partition(".")[2]: weight for name, weight in weights.items() if name.startswith(f"{part}.")}
        renamed |= {f"{part}.{name}": weight for name, weight in by_peft(of_part).items()}
    return renamed


def by_peft(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of one part by PEFT's names, from those of any version of diffusers."""
    if all(".lora_A." in name or ".lora_B." in name for name in weights):
        return dict(weights)
    renamed: dict[str, Tensor] = convert_unet_state_dict_to_peft(dict(weights))
    return renamed


def known(weights: Mapping[str, Tensor], parts: Mapping[str, torch.nn.Module]) -> set[tuple[str, str]]:
    """Return the parts and layers of the pipeline that weights are for, by diffusers' names with their part."""
    found: set[tuple[str, str]] = set()
    for name in weights:
        part, _, rest = name.partition(".")
        path, is_factor, _ = rest.partition(".lora_")
        # Text encoders were once wrapped in one more module.
        for layer in (path, path.removeprefix("text_model.")):
            if is_factor and part in parts and _layer(parts[part], layer) is not None:
                found.add((part, layer))
    return found


def _layer(network: torch.nn.Module, path: str) -> torch.nn.Module | None:
    try:
        return network.get_submodule(path)
    except AttributeError:
        return None


def _slices(rows: list[int]) -> tuple[slice, ...]:
    """Return numbers of rows as runs."""
    starts = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1] + 1]
    return tuple(slice(rows[a], rows[b - 1] + 1) for a, b in zip(starts, [*starts[1:], len(rows)], strict=True))
