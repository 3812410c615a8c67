"""Invert real images into diffusion models and edit them with a prompt, after ReNoise (Garibi et al., ECCV 2024).

    editor = renoise.Editor.from_pretrained("mini")
    inversion = editor.invert("cat.png", prompt="a cat, noto style, on a white background")
    edited = editor.edit(inversion, prompt="a dog, noto style, on a white background")

Names are imported when they are first used, so that `import renoise` is instant and loads neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renoise.config import EditLosses, InversionConfig, NoiseCorrection, Renoising, Walk, presets
    from renoise.editor import Editor
    from renoise.errors import (
        ConfigError,
        ImageError,
        ModelError,
        NumericalError,
        RenoiseError,
        RenoiseWarning,
        SchedulerError,
        StorageError,
    )
    from renoise.inversion import Inversion
    from renoise.progress import Progress
    from renoise.quality import Quality
    from renoise.sheets import side_by_side

__version__ = "0.1.0"

_HOMES = {
    "Editor": "renoise.editor",
    "Progress": "renoise.progress",
    "Quality": "renoise.quality",
    "side_by_side": "renoise.sheets",
    "Inversion": "renoise.inversion",
    "InversionConfig": "renoise.config",
    "Renoising": "renoise.config",
    "EditLosses": "renoise.config",
    "NoiseCorrection": "renoise.config",
    "Walk": "renoise.config",
    "presets": "renoise.config",
    "RenoiseError": "renoise.errors",
    "RenoiseWarning": "renoise.errors",
    "ConfigError": "renoise.errors",
    "ImageError": "renoise.errors",
    "ModelError": "renoise.errors",
    "NumericalError": "renoise.errors",
    "SchedulerError": "renoise.errors",
    "StorageError": "renoise.errors",
}

__all__ = [
    "ConfigError",
    "EditLosses",
    "Editor",
    "ImageError",
    "Inversion",
    "InversionConfig",
    "ModelError",
    "NoiseCorrection",
    "NumericalError",
    "Progress",
    "Quality",
    "RenoiseError",
    "RenoiseWarning",
    "Renoising",
    "SchedulerError",
    "StorageError",
    "Walk",
    "__version__",
    "presets",
    "side_by_side",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'renoise' has no attribute {name!r}")
    if name == "Editor":
        from renoise.environment import require_libraries

        require_libraries()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
