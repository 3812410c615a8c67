"""What the methods of others share: the network with its prompts encoded, and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from renoise import Editor, InversionConfig
from renoise.backbones import Request
from renoise.evaluation.methods import Method
from renoise.network import Network
from renoise.prompts import one_each
from renoise.ranges import store


@contextmanager
def network(editor: Editor, prompts: Sequence[str], guidance_scale: float, z_0: Tensor) -> Iterator[Network]:
    """Give the network for a batch of latents (B, C, h, w), each with its prompt, without gradients.

    A guidance scale of 1 or less is no guidance. Afterwards offloading hooks may move the network away again.
    """
    scale = InversionConfig(guidance_scale=guidance_scale).guidance_scale
    texts = one_each(list(prompts), len(z_0), "prompt")
    with torch.no_grad(), editor.model.freeing():
        yield editor.model.network(editor.model.condition(Request(texts, None, scale, editor.model.pixels(z_0))))


def settle(method: Any, *names: str) -> None:
    """Check settings that `InversionConfig` has by the same names, and store them in the frozen method as it does."""
    config = InversionConfig(**{name: getattr(method, name) for name in names})
    store(method, **{name: getattr(config, name) for name in names})


@dataclass(frozen=True)
class OneSchedule(Method):
    """A method that inverts and draws in the same `num_steps` steps and does not iterate."""

    num_steps: int = 50

    @property
    def num_inversion_steps(self) -> int:
        """Length of both schedules."""
        return self.num_steps
