"""Which scheduler suits a model, and which one takes the place of a scheduler that does not, or cannot be inverted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from renoise.errors import SchedulerError
from renoise.schedulers.exchange import converted, exchanged, made, settings_of
from renoise.schedulers.names import KINDS, SAMPLERS, SUPPORTED, TITLES, Kind, kind_of, stand_in

# The settings that only schedulers of one kind have. A scheduler's configuration keeps those of the scheduler that it
# was made from, so that they tell what the model's own was.
_FLOW_SETTINGS = frozenset({"shift", "flow_shift", "use_dynamic_shifting"})
_EDM_SETTINGS = frozenset({"sigma_data"})
_BETAS = frozenset({"beta_start", "beta_end"})
# The kinds of schedulers for flow-matching models, and for others.
_FLOWS: tuple[Kind, ...] = ("flow",)
_DIFFUSION: tuple[Kind, ...] = ("diffusion", "edm")


def require_kind(scheduler: Any, *, flow: bool = False, kinds: Sequence[Kind] = ()) -> None:
    """Check that a scheduler suits the model: others would take velocities for noises, or noises for velocities.

    Args:
        scheduler: a diffusers scheduler.
        flow: whether the model is a flow-matching model.
        kinds: the kinds of schedulers that sample it, where they are known better.

    Raises:
        SchedulerError: if the scheduler is not supported, or does not suit the model; the message has the line that
            exchanges it, if the scheduler's configuration says what the model was trained on.
    """
    name, kind = type(scheduler).__name__, kind_of(scheduler)
    kinds = tuple(kinds) or (_FLOWS if flow else _DIFFUSION)
    if kind is None:
        why = "samples a kind of model that is not known here"
    elif kind not in kinds:
        several = "" if name in SUPPORTED else "does not take single affine steps and "
        why = f"{several}is made for another kind of model ({TITLES[kind]}) than this one"
    elif _made_from_edm(scheduler):
        why, kinds = "was made from the settings of an EDM scheduler, which have no betas", ("edm",)
    elif name not in SUPPORTED:
        why, kinds = "does not take single affine steps", (kind,)
    else:
        return
    suited = ", ".join(SAMPLERS[short] for each in kinds for short in KINDS[each])
    try:
        line = _line(scheduler, suiting(scheduler, kinds=kinds))
    except SchedulerError:
        line = "take the settings of the scheduler that the model was published with"
    else:
        line = f"for example: {line}"
    raise SchedulerError(f"{name} {why}, so that it cannot be inverted here", remedy=f"use one of {suited}, {line}")


def suiting(scheduler: Any, *, flow: bool = False, kinds: Sequence[Kind] = ()) -> Any:
    """Return the scheduler to sample a model with: one that can be inverted, with the settings of the model's own.

    Args:
        scheduler: the scheduler that the model came with.
        flow: whether the model is a flow-matching model.
        kinds: the kinds of schedulers that sample it, where they are known better.

    Returns:
        A scheduler of the same class with clipping off, or the single-step one on the same noise levels.

    Raises:
        SchedulerError: if the scheduler samples another kind of model, and its configuration does not say what the
            model's own was.

    Examples:
        >>> from diffusers import UniPCMultistepScheduler
        >>> unipc = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
        >>> type(suiting(unipc, flow=True)).__name__, suiting(unipc, flow=True).shift
        ('FlowMatchEulerDiscreteScheduler', 3.0)
    """
    name, kind = type(scheduler).__name__, kind_of(scheduler)
    kinds = tuple(kinds) or (_FLOWS if flow else _DIFFUSION)
    if kind in kinds and not _made_from_edm(scheduler):
        return exchanged(scheduler, name if name in SUPPORTED or kind is None else stand_in(kind))
    kept = _kept(scheduler, kinds)
    if kept is None:
        samples = "a kind of model that is not known here" if kind is None else f"models of {TITLES[kind]}"
        raise SchedulerError(
            f"{name} samples {samples}, and does not say what the noise levels of this one are",
            argument="sampler",
            remedy="give the scheduler that the model was published with",
        )
    return converted(scheduler, stand_in(kept))


def _kept(scheduler: Any, kinds: Sequence[Kind]) -> Kind | None:
    """Return the kind, out of some, whose settings a configuration still holds from the scheduler of which it was made.

    TrigFlow's are none that others lack: its configuration is told by what it predicts.
    """
    kept = _chosen(scheduler) - set(settings_of(type(scheduler)))
    found: dict[Kind, bool] = {
        "edm": kept >= _EDM_SETTINGS,
        "diffusion": kept >= _BETAS,
        "flow": bool(kept & _FLOW_SETTINGS),
        "trigflow": False,
    }
    return next((kind for kind, there in found.items() if there and kind in kinds), None)


def _made_from_edm(scheduler: Any) -> bool:
    """Tell whether a scheduler that works on betas was made from an EDM scheduler's configuration, which has none."""
    if kind_of(scheduler) != "diffusion":
        return False
    own, known = scheduler.config, settings_of(type(scheduler))
    # A configuration that was written to a file names all betas, also those that were never chosen.
    default = all(name in known and own.get(name) == known[name] for name in _BETAS)
    return default and _chosen(scheduler) - set(known) >= _EDM_SETTINGS


def _chosen(scheduler: Any) -> set[str]:
    """Return the names of the settings that are no defaults."""
    return set(scheduler.config) - set(scheduler.config.get("_use_default_values", ()))


def _line(scheduler: Any, other: Any) -> str:
    """Return the line of Python that exchanges a pipeline's scheduler for `other`, with the settings that it needs."""
    cls = type(other)
    plain = made(cls, scheduler.config).config
    changes = {k: v for k, v in other.config.items() if not k.startswith("_") and str(plain.get(k)) != str(v)}
    given = "".join(f", {k}={v!r}" for k, v in changes.items())
    return f"pipe.scheduler = {cls.__name__}.from_config(pipe.scheduler.config{given})"
