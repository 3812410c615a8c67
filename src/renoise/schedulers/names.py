"""The samplers that can be inverted, by their short names and by their classes in diffusers; without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NoReturn

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
        "flow-lcm": "FlowMatchLCMScheduler",
        "flow-map": "FlowMapEulerDiscreteScheduler",
        "edm-euler": "EDMEulerScheduler",
        "scm": "SCMScheduler",
    }
)
SUPPORTED: tuple[str, ...] = tuple(SAMPLERS.values())

# The kinds of models, by what their networks are trained on: noise levels that betas give, the noise levels and scales
# of EDM (Karras et al., 2022, arXiv 2206.00364), the straight paths of flow matching, and the arcs of TrigFlow (Lu and
# Song, 2024, arXiv 2410.11081).
Kind = Literal["diffusion", "edm", "flow", "trigflow"]
# The samplers of each kind; the first takes the place of samplers that cannot be inverted.
FLOW: tuple[str, ...] = ("flow-euler", "flow-lcm", "flow-map")
EDM: tuple[str, ...] = ("edm-euler",)
TRIGFLOW: tuple[str, ...] = ("scm",)
DIFFUSION: tuple[str, ...] = tuple(name for name in SAMPLERS if name not in (*FLOW, *EDM, *TRIGFLOW))
KINDS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {"diffusion": DIFFUSION, "edm": EDM, "flow": FLOW, "trigflow": TRIGFLOW}
)
TITLES: Mapping[Kind, str] = MappingProxyType(
    {
        "diffusion": "diffusion with noise levels by betas",
        "edm": "EDM",
        "flow": "flow matching",
        "trigflow": "TrigFlow",
    }
)
# The samplers that have a setting for how much noise their steps add: eta, or TCD's gamma.
OWN_ETA = (SAMPLERS["ddim"], SAMPLERS["tcd"])
# The samplers that add noise in their own measure.
_STOCHASTIC = tuple(SAMPLERS[name] for name in ("ddpm", "euler-ancestral", "lcm", "flow-lcm", "scm"))
# Schedulers of EDM models that take several steps into account. Others with a sigma_data count time in another way.
_EDM_MULTISTEP = ("EDMDPMSolverMultistepScheduler",)


def stand_in(kind: Kind) -> str:
    """Return the class of the sampler that takes the place of one that cannot be inverted.

    Args:
        kind: the kind of models that both sample.

    Examples:
        >>> stand_in("diffusion")
        'DDIMScheduler'
    """
    return SAMPLERS[KINDS[kind][0]]


def kind_of(scheduler: Any) -> Kind | None:
    """Tell which kind of models a scheduler samples; None if that is not known.

    Args:
        scheduler: a diffusers scheduler, or the name of a class in `SUPPORTED`.

    Examples:
        >>> kind_of("EDMEulerScheduler"), kind_of("DDIMScheduler")
        ('edm', 'diffusion')
    """
    name = scheduler if isinstance(scheduler, str) else type(scheduler).__name__
    for kind, shorts in KINDS.items():
        if name in {SAMPLERS[short] for short in shorts}:
            return kind
    config = getattr(scheduler, "config", {})
    if config.get("prediction_type") == "trigflow":
        return "trigflow"
    # Samplers of several steps serve diffusion and flows, and their configuration says which.
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return "flow"
    if name in _EDM_MULTISTEP:
        return "edm"
    # Schedulers of diffusion models keep the products of their alphas, and those of flow models have a shift.
    if hasattr(scheduler, "alphas_cumprod"):
        return "diffusion"
    return "flow" if "shift" in config else None


def kinds_of(samplers: Iterable[str]) -> tuple[Kind, ...]:
    """Return the kinds of models that samplers sample, given by their short names.

    Examples:
        >>> kinds_of(("ddim", "lcm", "edm-euler"))
        ('diffusion', 'edm')
    """
    asked = set(samplers)
    return tuple(kind for kind, shorts in KINDS.items() if asked & set(shorts))


def is_flow(scheduler: Any) -> bool:
    """Tell whether a scheduler samples flow-matching models.

    Args:
        scheduler: a diffusers scheduler, or the name of a class in `SUPPORTED`.

    Examples:
        >>> is_flow("FlowMatchEulerDiscreteScheduler"), is_flow("DDIMScheduler")
        (True, False)
    """
    return kind_of(scheduler) == "flow"


def takes_eta(scheduler: Any) -> bool:
    """Tell whether it can be chosen how much noise a scheduler's steps add.

    Args:
        scheduler: a diffusers scheduler out of `SUPPORTED`.

    Examples:
        >>> from diffusers import DDPMScheduler, EulerDiscreteScheduler
        >>> takes_eta(EulerDiscreteScheduler()), takes_eta(DDPMScheduler())
        (True, False)
    """
    return type(scheduler).__name__ not in _STOCHASTIC and not setting(scheduler, "stochastic_sampling", False)


def is_deterministic(scheduler: Any) -> bool:
    """Tell whether a scheduler's steps add no noise unless an eta is asked for; TCD's gamma is 0.3 by itself.

    Args:
        scheduler: a diffusers scheduler out of `SUPPORTED`.

    Examples:
        >>> from diffusers import DDIMScheduler, TCDScheduler
        >>> is_deterministic(DDIMScheduler()), is_deterministic(TCDScheduler())
        (True, False)
    """
    return takes_eta(scheduler) and type(scheduler).__name__ != SAMPLERS["tcd"]


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


def setting(scheduler: Any, key: str, default: Any = None) -> Any:
    """Return a setting of a scheduler's configuration."""
    return scheduler.config.get(key, default)


def unknown_prediction(prediction_type: str) -> NoReturn:
    """Refuse a prediction type that is not known.

    Raises:
        SchedulerError: always.
    """
    raise SchedulerError(
        f"prediction_type={prediction_type!r} is unknown", remedy="use epsilon, v_prediction or sample"
    )
