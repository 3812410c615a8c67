"""Other authors' methods, behind the interface of `renoise.evaluation.methods`, to compare with.

The names below are imported when they are first used, because the edit rules beside them are needed below the methods.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renoise.evaluation.outside.ddim_inverse import DDIMInverse
    from renoise.evaluation.outside.edit_friendly import EditFriendly
    from renoise.evaluation.outside.unguided import NegativePrompt, NullPrompt

_HOMES = {
    "DDIMInverse": "ddim_inverse",
    "EditFriendly": "edit_friendly",
    "NegativePrompt": "unguided",
    "NullPrompt": "unguided",
}

__all__ = ["DDIMInverse", "EditFriendly", "NegativePrompt", "NullPrompt"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
