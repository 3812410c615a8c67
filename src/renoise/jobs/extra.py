"""The libraries of the extra `renoise[jobs]`, imported when a job needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from renoise.errors import ConfigError


def library(name: str) -> Any:
    """Return a module of the extra, such as "pyarrow.parquet".

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"jobs need packages that are not installed ({error.name or name})",
            remedy="run: pip install 'renoise[jobs]'",
        ) from error
