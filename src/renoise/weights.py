"""Telling numbers of a network's weights, whatever sort of tensor holds them.

A plain weight tells one of its values. A quantised weight has no values that can be read in an instant, and every
library keeps it in another way: as blocks of bytes (GGUF), as two values in a byte (bitsandbytes), or as a tensor
around others (torchao, optimum-quanto, DTensor). So its bytes are told, by how often each half of a byte occurs. That
is the same however a library packs the values anew, as bitsandbytes does when it first runs on a CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Numbers for each quantised weight, of one byte each: those below 128 are told apart by any tolerance below 1/128.
DIGEST_BYTES = 8


def is_plain(weight: Tensor) -> bool:
    """Tell whether a tensor holds its values as they are: dense floating-point numbers of torch's own class.

    Examples:
        >>> is_plain(torch.nn.Parameter(torch.zeros(2))), is_plain(torch.zeros(2, dtype=torch.int8))
        (True, False)
    """
    dense = type(weight) in (Tensor, torch.nn.Parameter) and weight.layout == torch.strided
    return dense and weight.is_floating_point()


def is_matrix(weight: Tensor) -> bool:
    """Tell whether a weight has two dimensions or more; one whose shape cannot be read has not."""
    try:
        return weight.ndim >= 2
    except Exception:  # as `telling`; parameters of lazy layers raise as well
        return False


def described(weight: Tensor) -> str:
    """Return a weight's shape, and for one that is not plain its class and the type of its blocks, too.

    Examples:
        >>> described(torch.zeros(2, 3)), described(torch.zeros(2, dtype=torch.int8))
        ('(2, 3)', '(2,):Tensor:torch.int8')
    """
    if is_plain(weight):
        return str(tuple(weight.shape))
    try:
        # bitsandbytes keeps the shape of the matrix apart from the bytes, whose shape may change.
        shape = getattr(getattr(weight, "quant_state", None), "shape", None) or weight.shape
        kind = getattr(weight, "quant_type", weight.dtype)
        return f"{tuple(shape)}:{type(weight).__name__}:{kind}"
    except Exception:  # as `telling`
        return f":{type(weight).__name__}"


def telling(weight: Tensor) -> list[float]:
    """Return numbers that tell a weight from others.

    Returns:
        The middle value of a plain weight; `DIGEST_BYTES` numbers in [0, 255] of any other; an empty list for a weight
        that cannot be read, such as one whose data is offloaded.

    Examples:
        >>> telling(torch.tensor([1.0, 2.0, 3.0]))
        [2.0]
        >>> telling(torch.zeros(2, device="meta"))
        []
    """
    try:
        if is_plain(weight):
            return [] if weight.is_meta or not weight.numel() else [_middle(weight)]
        return _digest(weight)
    except Exception:  # libraries that quantise leave out operations, and raise whatever they like for them
        return []


def _middle(weight: Tensor) -> float:
    """Return the value in the middle of the flattened weight, which is not copied for it."""
    place, index = weight.numel() // 2, []
    for side in reversed(weight.shape):
        index.append(place % side)
        place //= side
    return float(weight.detach()[tuple(reversed(index))])


def _digest(weight: Tensor) -> list[float]:
    counted = hashlib.sha256()
    parts = [part for part in _parts(weight) if part.numel()]
    if not parts or any(part.is_meta for part in parts):
        return []
    for part in parts:
        per_byte = torch.bincount(part.contiguous().view(-1).view(torch.uint8), minlength=256).cpu().view(16, 16)
        counted.update(str((per_byte.sum(0) + per_byte.sum(1)).tolist()).encode())
    return [float(byte) for byte in counted.digest()[:DIGEST_BYTES]]


def _parts(weight: Any) -> Iterator[Tensor]:
    """Yield the dense tensors that a weight is made of, without the behaviour of its class."""
    if hasattr(weight, "__tensor_flatten__"):
        for name in weight.__tensor_flatten__()[0]:
            yield from _parts(getattr(weight, name))
    elif isinstance(weight, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            yield weight.detach().as_subclass(Tensor)
