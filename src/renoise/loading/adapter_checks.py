"""What is checked of a LoRA's tensors before anything is loaded: numbers, alphas, and that no factor is alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from renoise.errors import ModelError
from renoise.escaping import seen, shown

# Both factors of a layer's change, by the names that the libraries give them.
_FACTOR = re.compile(r"(?:[._]lora[12]?[._]|\.lora_linear_layer\.)(?P<factor>A|B|down|up)\b")
_OTHER = {"A": "B", "B": "A", "down": "up", "up": "down"}
_ALPHA = ".alpha"


# What the names of an adapter's tensors have in them; other names are those of whole weights.
_MARKS = re.compile(r"lora|lycoris_|\.hada_|\.lokr_|\.diff(_b)?$|\.[wb]_norm$|\.alpha$|\.dora_scale$")
# PEFT's names of factors: with the adapter's name in them, as saved without PEFT, and without their ends.
_NAMED = re.compile(r"(?P<factor>\.lora_(?:A|B|magnitude_vector))(?:\.(?P<adapter>[^.]+))?(?P<end>\.(?:weight|bias))$")
_BARE = re.compile(r"\.lora_[AB]$")
# What follows a layer's path in PEFT's names and in older ones, and what may follow it besides.
_BOTH = frozenset({"A.weight", "B.weight"}), frozenset({"linear_layer.down.weight", "linear_layer.up.weight"})
_BESIDES = frozenset({"B.bias", "magnitude_vector", "magnitude_vector.weight"})

# What training tools write of the base model into a file's header, the most telling first.
_BASES = ("modelspec.architecture", "ss_base_model_version")


def advice(header: Mapping[str, str]) -> str:
    """Return what to do with an adapter that does not fit, with the base model that its file names if it names one."""
    named = next((header[key] for key in _BASES if header.get(key)), None)
    told = "" if named is None else f", which its file calls {seen(named, 60)}"
    return f"take a LoRA that is made for it, or the LoRA's own base model{told}"


def first_factors(names: Iterable[str]) -> list[str]:
    """Return the names of one weight for each layer that a LoRA adapts."""
    return [name for name in names if _factor(name) in ("A", "down")]


def _factor(name: str) -> str | None:
    found = _FACTOR.search(name)
    return None if found is None else found["factor"]


def require_sound(path: Path, tensors: Mapping[str, Tensor]) -> list[str]:
    """Refuse tensors that cannot be those of an adapter that works.

    Args:
        path: the file, for messages.
        tensors: its tensors, by name.

    Returns:
        The names of the alphas that are 0: the layers that they are for are not changed.

    Raises:
        ModelError: if a number is complex or not finite, an alpha is no number, every alpha is 0, or a factor lacks the
            other one.
    """
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise _broken(path, f"holds complex numbers, in {name}")
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise _broken(path, f"holds numbers that are not finite, in {name}")
        if name.endswith(_ALPHA) and tensor.numel() != 1:
            raise _broken(path, f"has {tensor.numel()} numbers for one in {name}")
        found = _FACTOR.search(name)
        if found is not None:
            start, end = found.span("factor")
            other = name[:start] + _OTHER[found["factor"]] + name[end:]
            if name.endswith(".weight") and other not in tensors:
                raise _broken(path, f"has {name}, but not {other}, without which it means nothing")
    alphas = {name: float(tensor) for name, tensor in tensors.items() if name.endswith(_ALPHA)}
    idle = [name for name, alpha in alphas.items() if alpha == 0.0]
    if idle and len(idle) == len(alphas):
        raise _broken(path, "has an alpha of 0 for every layer, so that it changes nothing")
    return idle


def strays(names: Iterable[str]) -> dict[str, None]:
    """Return the names of tensors that belong to no adapter, in their order."""
    return {name: None for name in names if _MARKS.search(name) is None}


def without_adapter_name(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by PEFT's names without the name of the adapter, which files saved without PEFT have in them.

    Raises:
        ModelError: if they are of several adapters.
    """
    adapters = {found["adapter"]: None for name in tensors if (found := _NAMED.search(name)) and found["adapter"]}
    if len(adapters) > 1:
        told = ", ".join(seen(adapter, 40) for adapter in list(adapters)[:3])
        problem = f"the LoRA {path} holds {len(adapters)} adapters, such as {told}"
        raise ModelError(problem, argument="lora", remedy="save one of them alone, and give that file")
    plain = {_BARE.sub(r"\g<0>.weight", _NAMED.sub(r"\g<factor>\g<end>", name)): name for name in tensors}
    return {name: tensors[given] for name, given in plain.items()} if len(plain) == len(tensors) else dict(tensors)


def require_both(path: Path, names: Iterable[str]) -> None:
    """Refuse layers that have not exactly two factors: PEFT would make up what is missing.

    Args:
        path: the file, for messages.
        names: PEFT's names of the weights.

    Raises:
        ModelError: if a factor is missing or there are more, or a name has an end that is not read.
    """
    layers: dict[str, set[str]] = {}
    for name in names:
        layer, is_factor, end = name.partition(".lora_")
        if is_factor:
            layers.setdefault(layer, set()).add(end)
    for layer, ends in layers.items():
        if ends - _BESIDES not in _BOTH:
            told = f"{layer}.lora_{min(ends - _BESIDES, default=min(ends))}"
            raise _broken(path, f"has {told}, but not exactly two factors of that layer by names that are read")


def _broken(path: Path, fault: str) -> ModelError:
    return ModelError(
        f"the LoRA {path} {shown(fault, 400)}", argument="lora", remedy="download it again, or take another file of it"
    )
