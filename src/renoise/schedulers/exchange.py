"""One scheduler for another on the same noise levels, and schedulers as data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from renoise.errors import SchedulerError
from renoise.schedulers.names import SUPPORTED, is_flow

CLIPPING = ("clip_sample", "thresholding")


def require_kind(scheduler: Any, *, flow: bool) -> None:
    """Refuse a sampler of another kind of model: it would take velocities for noises, or noises for velocities.

    Args:
        scheduler: a diffusers scheduler.
        flow: whether the model is one of flow matching.

    Raises:
        SchedulerError: if the scheduler is not supported, or made for the other kind; the message has the line that
            changes it.
    """
    name = type(scheduler).__name__
    if name in SUPPORTED and is_flow(name) == flow:
        return
    mend = "FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)"
    if not flow:
        mend = "DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)"
    suited = ", ".join(known for known in SUPPORTED if is_flow(known) == flow)
    why = "is made for another kind of model" if name in SUPPORTED else "does not take single affine steps"
    raise SchedulerError(
        f"{name} {why}, so that it cannot be inverted here; use one of {suited}, for example: pipe.scheduler = {mend}"
    )


def exchanged(scheduler: Any, name: str, **changes: Any) -> Any:
    """Another scheduler on the same noise levels, with clipping off.

    Args:
        scheduler: a diffusers scheduler.
        name: the class of the other in diffusers, one of `SUPPORTED`.
        changes: settings that differ.

    Raises:
        SchedulerError: if it is not supported, is made for another kind of model, does not know a setting, or would
            clip its samples.
    """
    import diffusers

    if not isinstance(name, str) or name not in SUPPORTED:
        raise SchedulerError(f"{name!r} is not supported; use one of {', '.join(SUPPORTED)}")
    if is_flow(name) != is_flow(scheduler):
        raise SchedulerError(
            f"{type(scheduler).__name__} and {name} sample two kinds of models, diffusion and flow matching, so that "
            "neither can stand in for the other; use a sampler of the model's own kind"
        )
    kind = getattr(diffusers, name)
    known = set(inspect.signature(kind.__init__).parameters)
    unknown = set(changes) - known
    if unknown:
        raise SchedulerError(f"{name} has no setting {', '.join(sorted(unknown))}")
    for setting in CLIPPING:
        if changes.get(setting):
            raise SchedulerError(f"{setting}=True makes the steps impossible to invert; leave it out")
    own = {k: v for k, v in scheduler.config.items() if k in known or k.startswith("_")}
    chosen = {**changes, **{setting: False for setting in CLIPPING if setting in known}}
    try:
        # Apart, because diffusers takes its own defaults for settings of a configuration that were never chosen; the
        # entries that it keeps for itself say which those are.
        other = kind.from_config(own, **chosen)
    except NotImplementedError as error:
        raise SchedulerError(
            f"{name} cannot be made with the noise levels of {type(scheduler).__name__} ({error}); use another sampler"
        ) from error
    if hasattr(scheduler, "set_shift") and hasattr(other, "set_shift") and "shift" not in changes:
        other.set_shift(scheduler.shift)
    return other


def describe(scheduler: Any) -> dict[str, Any]:
    """A scheduler as JSON-able data, from which `restore` makes an equal one."""
    config = {
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in scheduler.config.items()
        if not key.startswith("_")
    }
    record: dict[str, Any] = {"class": type(scheduler).__name__, "config": config}
    if hasattr(scheduler, "set_shift"):
        # Not in the configuration: a schedule ends where the shift that the scheduler was made with says, and lies
        # between as the shift that it was given later does.
        record["shift"] = float(scheduler.shift)
    return record


def restore(record: Mapping[str, Any]) -> Any:
    """The scheduler that `describe` recorded.

    Raises:
        SchedulerError: if the record names none that is supported.
    """
    import diffusers

    if record["class"] not in SUPPORTED:
        raise SchedulerError(f"the inversion names the scheduler {record['class']!r}, which is not supported")
    try:
        restored = made(getattr(diffusers, record["class"]), record["config"])
        if record.get("shift") is not None:
            restored.set_shift(float(record["shift"]))
        return restored
    except Exception as error:  # a scheduler checks little and fails as it may on a configuration that makes no sense
        raise SchedulerError(f"the inversion's scheduler cannot be made ({error}); invert the image again") from error


def made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A scheduler from a configuration that may hold entries of others, about which diffusers would warn each time."""
    known = set(inspect.signature(kind.__init__).parameters)
    return kind.from_config({k: v for k, v in config.items() if k in known or k.startswith("_")})
