"""One safetensors file with tensors and a JSON record, written atomically and read with suspicion."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from renoise.errors import StorageError, reason
from renoise.files import write_atomically

# A single metadata key: safetensors writes several in no fixed order, and equal inversions should be equal bytes.
_KEY = "renoise.inversion"
FORMAT_VERSION = 1


def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able record to one file.

    Raises:
        StorageError: if the file cannot be written; nothing is left behind.
    """
    target = Path(path)
    metadata = {_KEY: json.dumps({"format": FORMAT_VERSION, **record}, sort_keys=True)}
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    try:
        if target.is_dir():
            raise StorageError(f"{target} is a directory; name a file such as {target / 'inversion.safetensors'}")
        if not target.parent.is_dir():
            raise StorageError(f"the folder {target.parent} does not exist; create it first")
        write_atomically(target, data)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot write {str(target)[:200]}: {reason(error)}; choose another file or folder"
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `write` wrote.

    Raises:
        StorageError: if the file is missing, damaged, cut short, or not an inversion.
    """
    source = Path(path)
    try:
        if source.is_dir():
            raise StorageError(f"{source} is a directory; name an inversion file (.safetensors)")
        if not source.exists():
            raise StorageError(f"there is no file {source}; check the path")
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise StorageError(f"{source} is a safetensors file, but not an inversion made by renoise")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a handle, not a dict
        record = json.loads(metadata[_KEY])
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{str(source)[:200]} is not a readable inversion ({reason(error)}); it may be damaged or cut short: "
            "invert the image again"
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT_VERSION:
        found = record.get("format") if isinstance(record, dict) else None
        raise StorageError(
            f"{source} has inversion format {found!r}, this version of renoise reads {FORMAT_VERSION}; "
            "update renoise, or invert the image again"
        )
    return tensors, record
