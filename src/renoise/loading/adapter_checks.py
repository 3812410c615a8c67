"""What is checked of a LoRA's tensors before anything is loaded: numbers, alphas, and that no factor is alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from renoise.errors import ModelError
from renoise.escaping import seen

# Both factors of a layer's change, by the names that the libraries give them.
_FACTOR = re.compile(r"(?:[._]lora[12]?[._]|\.lora_linear_layer\.)(?P<factor>A|B|down|up)\b")
_OTHER = {"A": "B", "B": "A", "down": "up", "up": "down"}
_ALPHA = ".alpha"


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
        ModelError: if a number is not finite, an alpha is no number, every alpha is 0, or a factor lacks the other one.
    """
    for name, tensor in tensors.items():
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


def _broken(path: Path, fault: str) -> ModelError:
    return ModelError(
        f"the LoRA {path} {fault}", argument="lora", remedy="download it again, or take another file of it"
    )
