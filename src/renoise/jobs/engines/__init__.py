"""The engines, by their names."""

from __future__ import annotations

from renoise.jobs.engines.base import Engine
from renoise.jobs.engines.local import LocalEngine
from renoise.jobs.settings import JobSettings, Running
from renoise.jobs.sources import Source

__all__ = ["Engine", "engine_for"]


def engine_for(running: Running, source: Source, settings: JobSettings, folder: str) -> Engine:
    """Return the engine that is asked for.

    Raises:
        ConfigError: if its library is not installed.
    """
    if running.engine == "local":
        return LocalEngine(source, settings, folder)
    from renoise.jobs.engines.ray import RayEngine

    return RayEngine(running, source, settings, folder)
