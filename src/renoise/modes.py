"""Networks in evaluation mode for as long as they work here; their owner's modes come back afterwards.

In training mode a network drops activations at random, so that two inversions of an image differ, and draws from
torch's global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from renoise.lookups import named_modules

_RANDOM = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


@dataclass
class _Held:
    """A network that is in use: by how many, and which of its modules were in training mode before."""

    users: int = 0
    training: list[nn.Module] = field(default_factory=list)


_LOCK = Lock()
_HELD: WeakKeyDictionary[nn.Module, _Held] = WeakKeyDictionary()


def networks(pipe: Any) -> dict[str, nn.Module]:
    """Return the components of a pipeline that are networks, by their names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def in_training(pipe: Any) -> list[str]:
    """Return the names of the networks in training mode, as a whole or in a layer that draws or keeps statistics.

    Adapters may be in that mode without an effect: libraries add them so to a network that is not.
    """
    return [name for name, network in networks(pipe).items() if network.training or _draws(network)]


@contextmanager
def evaluating(pipe: Any) -> Iterator[None]:
    """Keep a pipeline's networks in evaluation mode, and bring each module's own mode back, whatever happens.

    Where several threads share networks, the modes come back when the last of them has finished.
    """
    parts = list(networks(pipe).values())
    with _LOCK:
        for network in parts:
            held = _HELD.setdefault(network, _Held())
            if held.users == 0:
                held.training = [module for _, module in named_modules(network) if module.training]
                for module in held.training:
                    module.training = False
            held.users += 1
    try:
        yield
    finally:
        with _LOCK:
            for network in parts:
                held = _HELD[network]
                held.users -= 1
                if held.users == 0:
                    for module in _HELD.pop(network).training:
                        module.training = True


def _draws(network: nn.Module) -> bool:
    return any(m.training and isinstance(m, _RANDOM) and getattr(m, "p", 1.0) > 0.0 for _, m in named_modules(network))
