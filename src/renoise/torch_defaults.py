"""Keep the global defaults of torch and numpy from deciding results.

torch's default dtype and device, and numpy's treatment of floating-point errors, belong to the whole process. A program
that sets them for its own purposes must get the same schedules, embeddings and predictions as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from renoise.lookups import remembering

_LOCK = Lock()
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _Pinned:
    """How many callers rely on float32 at the moment, and what the program had set before the first of them."""

    callers = 0
    before = torch.float32


@contextmanager
def standard() -> Iterator[None]:
    """Have torch's and numpy's own defaults in force: float32 on the CPU, and warnings in place of numpy's errors.

    It can be nested, used from several threads, and used as a decorator. What the program had set is in force again
    afterwards.

    Examples:
        >>> torch.set_default_dtype(torch.float64)
        >>> with standard():
        ...     print(torch.zeros(1).dtype)
        torch.float32
        >>> print(torch.zeros(1).dtype)
        torch.float64
        >>> torch.set_default_dtype(torch.float32)
    """
    # The default dtype is the process's, so that the last one out puts it back; the others are the thread's own.
    with _LOCK:
        if _Pinned.callers == 0:
            _Pinned.before = torch.get_default_dtype()
            if _Pinned.before != torch.float32:
                torch.set_default_dtype(torch.float32)
        _Pinned.callers += 1
    try:
        elsewhere = torch.get_default_device() != torch.device("cpu")
        errors = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
        with errors, torch.device("cpu") if elsewhere else nullcontext():
            yield
    finally:
        with _LOCK:
            _Pinned.callers -= 1
            if _Pinned.callers == 0 and _Pinned.before != torch.float32:
                torch.set_default_dtype(_Pinned.before)


def inference(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Make a function run without gradients and under `standard`, in one frame, as `torch.no_grad()` does.

    What `renoise.lookups.once` finds in it is looked up once. Inference mode would save nothing that can be measured
    (docs/performance.md), and its tensors cannot take part in a user's gradients afterwards.

    Examples:
        >>> @inference
        ... def ones():
        ...     return torch.ones(1, requires_grad=True) + 1.0
        >>> ones().requires_grad
        False
    """

    @wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with standard(), torch.no_grad(), remembering():
            return function(*args, **kwargs)

    return run
