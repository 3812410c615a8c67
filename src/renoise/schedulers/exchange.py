"""Exchanging one scheduler for another on the same noise levels, and schedulers as data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from renoise.errors import SchedulerError
from renoise.schedulers.names import SUPPORTED, is_flow, stand_in

CLIPPING = ("clip_sample", "thresholding")


def require_kind(scheduler: Any, *, flow: bool) -> None:
    """Check that a scheduler suits the model: others would take velocities for noises, or noises for velocities.

    Args:
        scheduler: a diffusers scheduler.
        flow: whether the model is a flow-matching model.

    Raises:
        SchedulerError: if the scheduler is not supported, or does not suit the model; the message has the line that
            exchanges it.
    """
    name = type(scheduler).__name__
    if name in SUPPORTED and is_flow(name) == flow:
        return
    clipping = "" if flow else ", clip_sample=False"
    mend = f"pipe.scheduler = {stand_in(flow=flow)}.from_config(pipe.scheduler.config{clipping})"
    suited = ", ".join(known for known in SUPPORTED if is_flow(known) == flow)
    why = "is made for another kind of model" if name in SUPPORTED else "does not take single affine steps"
    raise SchedulerError(
        f"{name} {why}, so that it cannot be inverted here", remedy=f"use one of {suited}, for example: {mend}"
    )


def exchanged(scheduler: Any, name: str, **changes: Any) -> Any:
    """Return another scheduler on the same noise levels, with clipping off.

    Args:
        scheduler: a diffusers scheduler; it is not changed.
        name: the class of the other scheduler in diffusers, one of `SUPPORTED`.
        changes: settings that differ.

    Raises:
        SchedulerError: if the other is not supported, is made for another kind of model, does not know a setting, or
            would clip its samples.

    Examples:
        >>> from diffusers import DDIMScheduler
        >>> type(exchanged(DDIMScheduler(beta_end=0.012), "LCMScheduler")).__name__
        'LCMScheduler'
    """
    import diffusers

    if not isinstance(name, str) or name not in SUPPORTED:
        raise SchedulerError(f"{name!r} is not supported", remedy=f"use one of {', '.join(SUPPORTED)}")
    if is_flow(name) != is_flow(scheduler):
        raise SchedulerError(
            f"{type(scheduler).__name__} and {name} sample two kinds of models, diffusion and flow matching, so that "
            "neither can stand in for the other",
            argument="sampler",
            remedy="use a sampler that suits the model",
        )
    cls = getattr(diffusers, name)
    known = _settings(cls)
    unknown = set(changes) - known
    if unknown:
        raise SchedulerError(f"{name} has no setting {', '.join(sorted(unknown))}")
    for setting in CLIPPING:
        if changes.get(setting):
            raise SchedulerError(f"{setting}=True makes the steps impossible to invert", remedy="leave it out")
    own = {k: v for k, v in scheduler.config.items() if k in known or k.startswith("_")}
    chosen = {**changes, **{setting: False for setting in CLIPPING if setting in known}}
    try:
        # The chosen settings are given apart from the configuration, because diffusers takes its own defaults for
        # settings of a configuration that were never chosen; the entries with an underscore say which those are.
        other = cls.from_config(own, **chosen)
    except NotImplementedError as error:
        raise SchedulerError(
            f"{name} cannot be made with the noise levels of {type(scheduler).__name__} ({error})",
            argument="sampler",
            remedy="use another sampler",
        ) from error
    if hasattr(scheduler, "set_shift") and hasattr(other, "set_shift") and "shift" not in changes:
        other.set_shift(scheduler.shift)
    return other


def describe(scheduler: Any) -> dict[str, Any]:
    """Describe a scheduler as JSON-able data, from which `restore` makes an equal one."""
    config = {
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in scheduler.config.items()
        if not key.startswith("_")
    }
    record: dict[str, Any] = {"class": type(scheduler).__name__, "config": config}
    if hasattr(scheduler, "set_shift"):
        # The configuration has the shift that the scheduler was made with, which says where a schedule ends; its
        # noise levels in between follow the shift that it was given later.
        record["shift"] = float(scheduler.shift)
    return record


def restore(record: Mapping[str, Any]) -> Any:
    """Make the scheduler that `describe` recorded.

    Raises:
        SchedulerError: if the record names none that is supported, or makes none.

    Examples:
        >>> from diffusers import DDIMScheduler
        >>> restore(describe(DDIMScheduler(beta_end=0.012))).config.beta_end
        0.012
    """
    import diffusers

    if record["class"] not in SUPPORTED:
        raise SchedulerError(f"the inversion names the scheduler {record['class']!r}, which is not supported")
    try:
        restored = made(getattr(diffusers, record["class"]), record["config"])
        if record.get("shift") is not None:
            restored.set_shift(float(record["shift"]))
        return restored
    except (
        Exception
    ) as error:  # schedulers check little, and raise many sorts of errors for a configuration without sense
        raise SchedulerError(
            f"the inversion's scheduler cannot be made ({error})", remedy="invert the image again"
        ) from error


def made(cls: Any, config: Mapping[str, Any]) -> Any:
    """Make a scheduler from a configuration that may hold settings of others, about which diffusers would warn."""
    known = _settings(cls)
    return cls.from_config({k: v for k, v in config.items() if k in known or k.startswith("_")})


def _settings(cls: Any) -> set[str]:
    """Return the names of the settings that a scheduler's class has."""
    return set(inspect.signature(cls.__init__).parameters)
