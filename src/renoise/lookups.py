"""Look up once in a call what costs time to look up, such as a pipeline's device.

diffusers finds a pipeline's device and a network's precision by going through all layers, since hooks may stand at any
of them. Neither changes while a call of an editor works, and both are asked for in every network pass. Between calls
nothing is remembered, because then the pipeline is its owner's to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

_Found = TypeVar("_Found")
# What was found in the call that works in this thread, by owner and name; None outside of calls. The owners are held,
# so that none of them can go and leave its id to another.
_FOUND: ContextVar[dict[tuple[int, str], tuple[object, object]] | None] = ContextVar("_FOUND", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Remember what `once` finds until the end; inside another one it changes nothing.

    Examples:
        >>> asked = []
        >>> with remembering():
        ...     once(asked, "number", lambda: asked.append(1) or 7), once(asked, "number", lambda: asked.append(1) or 7)
        (7, 7)
        >>> asked
        [1]
    """
    if _FOUND.get() is not None:
        yield
        return
    token = _FOUND.set({})
    try:
        yield
    finally:
        _FOUND.reset(token)


def once(owner: object, name: str, find: Callable[[], _Found]) -> _Found:
    """Return what `find` finds, or what it found before in the same call.

    Args:
        owner: whose property it is.
        name: of the property.
        find: looks it up.
    """
    found = _FOUND.get()
    if found is None:
        return find()
    key = (id(owner), name)
    if key not in found:
        found[key] = (owner, find())
    value: _Found = found[key][1]  # type: ignore[assignment]
    return value


def named_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return all modules of a network with their names, put together once in a call."""
    return once(network, "modules", lambda: list(network.named_modules()))
