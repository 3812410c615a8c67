"""The forms in which LoRA weights are asked for: names, with or without a strength."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen

# A name with a strength: the last colon and a number after it.
_WITH_STRENGTH = re.compile(r"(?P<name>.+):(?P<strength>[+-]?(\d+\.?\d*|\.\d+))", re.DOTALL)


def asked(wanted: Any) -> list[tuple[str, float]]:
    """Return the names of LoRAs, each with its strength, of all the forms in which they may be asked for.

    Args:
        wanted: a name, a pair of a name and a strength, or a list of either; None means none. A name may end in a
            colon and the strength, unless there is a file or folder of that name.

    Raises:
        ConfigError: if it is none of them.

    Examples:
        >>> asked([("a.safetensors", 0.7), "owner/name:-0.5", "b"])
        [('a.safetensors', 0.7), ('owner/name', -0.5), ('b', 1.0)]
    """
    if wanted is None:
        return []
    several = [wanted] if isinstance(wanted, (str, os.PathLike)) or _is_pair(wanted) else wanted
    if not isinstance(several, (list, tuple)) or not all(
        isinstance(one, (str, os.PathLike)) or _is_pair(one) for one in several
    ):
        raise ConfigError(
            Argument("lora"),
            " must be a folder, a .safetensors file, a hub name, one of them with its strength, such as "
            f"('name', 0.7), or a list of them, not {seen(wanted)}",
        )
    return [(os.fspath(one[0]), float(one[1])) if isinstance(one, tuple) else _named(one) for one in several]


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], (str, os.PathLike))
        and isinstance(value[1], (int, float))
        and not isinstance(value[1], bool)
        and math.isfinite(value[1])
    )


def _named(name: str | os.PathLike[str]) -> tuple[str, float]:
    label = os.fspath(name)
    parts = _WITH_STRENGTH.fullmatch(label) if isinstance(name, str) else None
    if parts is None or _is_here(label):
        return label, 1.0
    return parts["name"], float(parts["strength"])


def _is_here(label: str) -> bool:
    try:
        return Path(label).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # no path at all
        return False
