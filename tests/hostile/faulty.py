"""Cases that go wrong in every way that the worker has to notice, for the test of the worker itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from hostile.worker import Case
from renoise.errors import ConfigError, RenoiseWarning


class _Raw(ConfigError):
    """An error whose message is shown as it is."""

    def __str__(self) -> str:
        return "\x1b[2J"


class _Long(ConfigError):
    """An error whose message fills the screen."""

    def __str__(self) -> str:
        return "x" * 5000


def cases(folder: Path) -> list[Case]:
    """Return two cases that end well, and the faults between them."""
    return [
        ("a result", lambda: 1),
        ("another exception", lambda: _raise(KeyError(1))),
        ("a dead process", lambda: os._exit(3)),
        ("a program", lambda: subprocess.run([sys.executable, "-c", ""], check=True)),
        ("memory", lambda: bytearray(2**33)),
        ("controls", lambda: _raise(_Raw("x"))),
        ("length", lambda: _raise(_Long("x"))),
        ("a warning", lambda: warnings.warn(_Warning("x"), stacklevel=1)),
        ("time", lambda: time.sleep(100)),
        ("a refusal", lambda: _raise(ConfigError("\x1b[2J"))),
    ]


class _Warning(RenoiseWarning):
    def __str__(self) -> str:
        return "one\ntwo"


def _raise(error: Exception) -> None:
    raise error
