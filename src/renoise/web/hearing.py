"""Hear what the library warns of, each thread for the request that it works on.

Python's own way to catch warnings is one for the whole process, and threads that use it at a time undo each other's
settings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from renoise.errors import RenoiseWarning

Heard = Callable[[RenoiseWarning], None]

_LOCK = Lock()
_LISTENER: ContextVar[Heard | None] = ContextVar("_LISTENER", default=None)


class _Installed:
    """How many listen at the moment, and what undoes the settings of the first of them."""

    listeners = 0
    undo: Any = None


@contextmanager
def hearing(heard: Heard) -> Iterator[None]:
    """Pass the library's warnings in this thread to a callable; other warnings go where they went.

    Args:
        heard: receives each warning. What it raises reaches the code that warned.

    Examples:
        >>> texts = []
        >>> with hearing(lambda warning: texts.append(str(warning))):
        ...     warnings.warn(RenoiseWarning("the mask is black"))
        >>> texts
        ['the mask is black']
    """
    with _LOCK:
        _Installed.listeners += 1
        if _Installed.listeners == 1:
            _install()
    before = _LISTENER.set(heard)
    try:
        yield
    finally:
        _LISTENER.reset(before)
        with _LOCK:
            _Installed.listeners -= 1
            if _Installed.listeners == 0:
                _Installed.undo.__exit__(None, None, None)


def _install() -> None:
    caught = warnings.catch_warnings()
    caught.__enter__()
    _Installed.undo = caught
    warnings.simplefilter("always", RenoiseWarning)
    show = warnings.showwarning

    def dispatch(message: Warning | str, *where: Any, **more: Any) -> None:
        listener = _LISTENER.get()
        if listener is not None and isinstance(message, RenoiseWarning):
            listener(message)
        else:
            show(message, *where, **more)

    warnings.showwarning = dispatch
