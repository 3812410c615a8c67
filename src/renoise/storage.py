"""Inversions on disk: one safetensors file with tensors and a JSON record, written whole and read with suspicion."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import msgspec
import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from renoise.errors import RenoiseError, StorageError, reason
from renoise.files import write_atomically
from renoise.inversion_record import FORMAT_VERSION, PIXELS, require_inversion
from renoise.reading import MAX_JSON_BYTES, open_file, parse_json

# A single metadata key: safetensors writes several in no fixed order, and equal inversions should be equal bytes.
_KEY = "renoise.inversion"
# A batch of forty images of Flux with their trajectories has less, and a machine's memory should hold it.
MAX_BYTES = 4 * 2**30
# The length of the header stands first in a safetensors file.
_LENGTH = 8
# Floating-point types as safetensors names them.
DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
)
# Images have bytes.
_BYTES: Mapping[str, torch.dtype] = MappingProxyType({"U8": torch.uint8})


class _Tensor(msgspec.Struct, frozen=True):
    """What the header of a safetensors file says of a tensor."""

    dtype: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=MAX_BYTES)]], Meta(max_length=8)]


class _Stored(NamedTuple):
    """What the header of an inversion file says."""

    tensors: dict[str, _Tensor]
    record: dict[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    @property
    def nbytes(self) -> int:
        return sum(math.prod(t.shape) * _named(name)[t.dtype].itemsize for name, t in self.tensors.items())


def dtypes_of(name: str) -> Collection[torch.dtype]:
    """Return the types that a tensor of an inversion may have."""
    return _named(name).values()


def _named(name: str) -> Mapping[str, torch.dtype]:
    return _BYTES if name.startswith(PIXELS) else DTYPES


def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able record to one file.

    Raises:
        StorageError: if the file cannot be written, or `read` could not read it back; nothing is left behind.
    """
    target = Path(path)
    try:
        text = json.dumps({"format": FORMAT_VERSION, **record}, sort_keys=True)
        require_inversion(json.loads(text), {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    except RenoiseError as error:
        raise StorageError("this inversion cannot be saved: ", *error.problem, remedy=error.remedy) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageError(f"this inversion cannot be saved: {error}", remedy="let settings be plain values") from error
    # Copied, because tensors may share their memory, as a trajectory's end and the latents may.
    own = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    data = save(own, {_KEY: text})
    try:
        _require_size(len(data), data[:_LENGTH])
    except ValueError as error:
        raise StorageError(
            f"this inversion cannot be saved: {error}", remedy="invert fewer images at a time, or keep no trajectory"
        ) from error
    try:
        if target.is_dir():
            raise StorageError(
                f"{target} is a directory", remedy=f"name a file such as {target / 'inversion.safetensors'}"
            )
        if not target.parent.is_dir():
            raise StorageError(f"the folder {target.parent} does not exist", remedy="create it first")
        write_atomically(target, data)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {target}: {reason(error)}", remedy="choose another file or folder") from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back the tensors and the record that `write` wrote.

    What the file says of itself is checked before its tensors are read.

    Raises:
        StorageError: if the file is missing, damaged, cut short, too large, or not an inversion.
    """
    with open_file(path, StorageError) as file:
        try:
            size, length = os.fstat(file.fileno()).st_size, file.read(_LENGTH)
            head = length + file.read(_require_size(size, length))
            stored = _stored(head, path)
            if stored.nbytes != size - len(head):
                raise ValueError(f"its tensors have {stored.nbytes:,} bytes, and it has {size - len(head):,} for them")
            data = head + file.read(size - len(head))
            tensors = load(data)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
            raise _unreadable(path, reason(error) or type(error).__name__) from error
    if {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} != {
        name: (stored.shapes[name], _named(name)[tensor.dtype]) for name, tensor in stored.tensors.items()
    }:
        raise _unreadable(path, "its header says two things of one tensor")
    return tensors, stored.record


def _require_size(size: int, length: bytes) -> int:
    """Check the size of a file that begins with the length of its header, and return that length."""
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, of which {MAX_BYTES:,} may be read")
    header = int.from_bytes(length, "little")
    if len(length) < _LENGTH or header > size - _LENGTH:
        raise ValueError("it is cut short, or no safetensors file")
    if header > MAX_JSON_BYTES:
        raise ValueError(f"its header has {header:,} bytes, of which {MAX_JSON_BYTES:,} may be read")
    return header


def _stored(head: bytes, path: str | os.PathLike[str]) -> _Stored:
    """Return what a header says, if it is that of an inversion."""
    header = parse_json(head[_LENGTH:], f"the header of {path}")
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise StorageError(f"{path} is a safetensors file, but not an inversion made by renoise")
    record = parse_json(metadata[_KEY], f"the record of {path}")
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT_VERSION:
        raise StorageError(
            f"{path} has inversion format {str(found)[:20]!r}, this version of renoise reads {FORMAT_VERSION}",
            remedy="update renoise, or invert the image again",
        )
    stored = _Stored(msgspec.convert(header, dict[str, _Tensor]), record)
    for name, tensor in stored.tensors.items():
        if tensor.dtype not in _named(name):
            raise ValueError(f"its tensor {name} is of type {tensor.dtype}, and not of {', '.join(_named(name))}")
    try:
        require_inversion(record, stored.shapes)
    except RenoiseError as error:
        raise StorageError(
            f"{path} is an inversion with missing or wrong contents: ",
            *error.problem,
            remedy=error.remedy or "invert the image again",
        ) from error
    return stored


def _unreadable(path: str | os.PathLike[str], why: str) -> StorageError:
    return StorageError(
        f"{path} is not a readable inversion ({why})", remedy="it may be damaged or cut short: invert the image again"
    )
