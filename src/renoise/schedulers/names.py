"""The samplers that can be inverted, by their short names and by their classes in diffusers; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from renoise.errors import SchedulerError
from renoise.escaping import seen

# The short names of the samplers, with their classes in diffusers.
SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "DDIMScheduler",
        "ddpm": "DDPMScheduler",
        "euler": "EulerDiscreteScheduler",
        "euler-ancestral": "EulerAncestralDiscreteScheduler",
        "lcm": "LCMScheduler",
        "tcd": "TCDScheduler",
        "flow-euler": "FlowMatchEulerDiscreteScheduler",
    }
)
SUPPORTED: tuple[str, ...] = tuple(SAMPLERS.values())
# The samplers of flow-matching models, whose networks predict velocities, and those of diffusion models.
FLOW: tuple[str, ...] = ("flow-euler",)
DIFFUSION: tuple[str, ...] = tuple(name for name in SAMPLERS if name not in FLOW)


def stand_in(*, flow: bool) -> str:
    """Return the class of the sampler that takes the place of one that cannot be inverted.

    Args:
        flow: whether the model is a flow-matching model.

    Examples:
        >>> stand_in(flow=False)
        'DDIMScheduler'
    """
    return SAMPLERS[(FLOW if flow else DIFFUSION)[0]]


def is_flow(scheduler: Any) -> bool:
    """Tell whether a scheduler samples flow-matching models.

    Args:
        scheduler: a diffusers scheduler, or the name of a class in `SUPPORTED`.

    Examples:
        >>> is_flow("FlowMatchEulerDiscreteScheduler"), is_flow("DDIMScheduler")
        (True, False)
    """
    name = scheduler if isinstance(scheduler, str) else type(scheduler).__name__
    if name in SUPPORTED:
        return name in {SAMPLERS[short] for short in FLOW}
    # Schedulers of diffusion models keep the products of their alphas, and those of flow models have none.
    return not hasattr(scheduler, "alphas_cumprod")


def sampler_class(name: str) -> str:
    """Return the class in diffusers of a sampler that is named by its short name or its class.

    Raises:
        SchedulerError: if the name is neither.

    Examples:
        >>> sampler_class("lcm")
        'LCMScheduler'
    """
    if isinstance(name, str) and (name in SAMPLERS or name in SUPPORTED):
        return SAMPLERS.get(name, name)
    raise SchedulerError(
        f"sampler {seen(name)} is unknown",
        argument="sampler",
        remedy=f"use one of {', '.join(SAMPLERS)}, or one of their classes in diffusers: {', '.join(SUPPORTED)}",
    )
