"""Files of made-up data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from renoise.errors import ConfigError
from renoise.evaluation import data


def touch(folder: Path, *names: str) -> None:
    """Files of those names; they stay empty, because loading a data set opens no images."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def refusal(source: Any, **options: Any) -> str:
    """The message with which `source` is refused."""
    with pytest.raises(ConfigError) as caught:
        data.load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
