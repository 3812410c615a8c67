"""What tells the model of a job from another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from renoise.escaping import seen
from renoise.fingerprint import same_model

_OF_NETWORKS = {"dtype": "the networks' type", "device": "the device"}
_OF_STEPS = {"scheduler": "its sampler is another one", "config": "its preset has other settings"}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between two models (`renoise.jobs.computing.Computing.facts`)."""
    found = [] if same_model(before["fingerprint"], now["fingerprint"]) else ["it has other weights or adapters"]
    for name, words in _OF_NETWORKS.items():
        if before[name] != now[name]:
            found.append(f"{words} was {seen(before[name], 20)} and is {seen(now[name], 20)}")
    # A manifest holds lists where there were tuples.
    return found + [words for name, words in _OF_STEPS.items() if _plain(before[name]) != _plain(now[name])]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
