"""What the libraries raise while a network works, told apart: no memory, no compiler, a model that does not work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from renoise.errors import Argument, ModelError, RenoiseError
from renoise.escaping import shown

# What torch, diffusers and transformers raise where weights, settings and inputs do not fit each other. Other errors,
# such as those that a signal's handler raises, are somebody else's and pass.
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@contextmanager
def in_network(what: str) -> Iterator[None]:
    """Raise a `ModelError` where the libraries cannot run a part of a model.

    Args:
        what: the part in words, such as "autoencoder".

    Raises:
        ModelError: in place of what they raise, except for a lack of memory; what `torch.compile` raises is told apart.

    Examples:
        >>> with in_network("autoencoder"):  # doctest: +ELLIPSIS
        ...     [].pop()
        Traceback (most recent call last):
        ...
        renoise.errors.ModelError: the model cannot be run: its autoencoder fails (IndexError: pop from empty list)...
    """
    try:
        yield
    except RenoiseError:
        raise
    except _MISFITS as error:
        if is_out_of_memory(error):
            raise
        told = " ".join(str(error).split())
        if _is_of_a_compiler(error):
            raise ModelError(
                f"the model cannot be compiled ({shown(told, 300)})",
                argument="compile",
                remedy=("install a C++ compiler such as gcc or clang, or leave out ", Argument("compile", True)),
            ) from error
        raise ModelError(
            f"the model cannot be run: its {what} fails ({type(error).__name__}: {shown(told, 300)})",
            argument="model",
            remedy="its parts may not fit each other, or be damaged: download it again, or take another one",
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there is not enough memory, on any device.

    Examples:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes do not fit"))
        (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # On a CPU and on Apple's GPUs it is a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("can't allocate memory", "not enough memory", "out of memory")
    )


def _is_of_a_compiler(error: BaseException) -> bool:
    """Tell whether an error says that a network cannot be compiled: `torch.compile` compiles at the first run."""
    dynamo = sys.modules.get("torch._dynamo.exc")
    return dynamo is not None and isinstance(error, dynamo.BackendCompilerFailed)
