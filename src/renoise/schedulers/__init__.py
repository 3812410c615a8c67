"""diffusers' schedulers as tables of `Step`s: nothing else in renoise reads their attributes.

`names` has the samplers by name, without torch; `tables` has the steps of each; `schedule` reads a schedule off a
scheduler; `exchange` puts one scheduler in place of another. The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renoise.schedulers.exchange import describe, exchanged, require_kind, restore
    from renoise.schedulers.names import SAMPLERS, SUPPORTED, is_flow, sampler_class
    from renoise.schedulers.schedule import steps_for

_HOMES = {
    "SAMPLERS": "names",
    "SUPPORTED": "names",
    "describe": "exchange",
    "exchanged": "exchange",
    "is_flow": "names",
    "require_kind": "exchange",
    "restore": "exchange",
    "sampler_class": "names",
    "steps_for": "schedule",
}

__all__ = [
    "SAMPLERS",
    "SUPPORTED",
    "describe",
    "exchanged",
    "is_flow",
    "require_kind",
    "restore",
    "sampler_class",
    "steps_for",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
