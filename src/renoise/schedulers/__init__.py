"""diffusers' schedulers as tables of `Step`s: nothing else in renoise reads their attributes.

`names` has the samplers by name, without torch; `tables` has the steps of each; `schedule` reads a schedule off a
scheduler; `exchange` puts one scheduler in place of another; `kinds` says
which suits a model. The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renoise.schedulers.exchange import describe, exchanged, restore
    from renoise.schedulers.kinds import require_kind, suiting
    from renoise.schedulers.names import (
        SAMPLERS,
        SUPPORTED,
        is_deterministic,
        is_flow,
        kind_of,
        sampler_class,
        takes_eta,
    )
    from renoise.schedulers.schedule import steps_for

_HOMES = {
    "SAMPLERS": "names",
    "SUPPORTED": "names",
    "describe": "exchange",
    "exchanged": "exchange",
    "is_deterministic": "names",
    "is_flow": "names",
    "kind_of": "names",
    "require_kind": "kinds",
    "restore": "exchange",
    "sampler_class": "names",
    "steps_for": "schedule",
    "suiting": "kinds",
    "takes_eta": "names",
}

__all__ = [
    "SAMPLERS",
    "SUPPORTED",
    "describe",
    "exchanged",
    "is_deterministic",
    "is_flow",
    "kind_of",
    "require_kind",
    "restore",
    "sampler_class",
    "steps_for",
    "suiting",
    "takes_eta",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
