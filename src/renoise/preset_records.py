"""The settings that suit models, by name, as presets.toml has them: that file says where each comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any

PRESET_RECORDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    tomllib.loads((files("renoise") / "presets.toml").read_text(encoding="utf-8"))
)
