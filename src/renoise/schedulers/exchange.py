"""Exchanging one scheduler for another on the same noise levels, and schedulers as data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from renoise.errors import SchedulerError
from renoise.schedulers.forms import is_plain, require_record
from renoise.schedulers.names import KINDS, SUPPORTED, TITLES, kind_of
from renoise.torch_defaults import standard

CLIPPING = ("clip_sample", "thresholding")
# A setting of other samplers that stays in a configuration, where pipelines ask for it whatever their scheduler is.
_ASKED_FOR = "use_flow_sigmas"
# What a diffusion model was trained on. It is carried over even where it was never chosen, because the defaults of the
# other scheduler may differ.
TRAINED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
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
    if not isinstance(name, str) or name not in SUPPORTED:
        raise SchedulerError(f"{name!r} is not supported", remedy=f"use one of {', '.join(SUPPORTED)}")
    kind, other = kind_of(scheduler), kind_of(name)
    if kind is None:
        raise SchedulerError(
            f"it is not known which kind of models {type(scheduler).__name__} samples, so that {name} cannot stand in "
            "for it",
            argument="sampler",
        )
    if kind != other:
        raise SchedulerError(
            f"{type(scheduler).__name__} and {name} sample two kinds of models, {_title(kind)} and {_title(other)}, so "
            "that neither can stand in for the other",
            argument="sampler",
            remedy=f"for this model use {' or '.join(KINDS[kind])}",
        )
    return converted(scheduler, name, **changes)


@standard()
def converted(scheduler: Any, name: str, **changes: Any) -> Any:
    """Return another scheduler with the settings that a scheduler's configuration holds, whatever kinds they sample.

    See `exchanged`, which refuses to take one kind for another.
    """
    import diffusers

    cls = getattr(diffusers, name)
    known, config = settings_of(cls), scheduler.config
    unknown = set(changes) - set(known)
    if unknown:
        raise SchedulerError(f"{name} has no setting {', '.join(sorted(unknown))}")
    for setting in CLIPPING:
        if changes.get(setting):
            raise SchedulerError(f"{setting}=True makes the steps impossible to invert", remedy="leave it out")
    if config.get("use_dynamic_shifting") and "use_dynamic_shifting" not in known and "shift" in known:
        raise SchedulerError(
            f"{name} has no shift by the size of an image, by which {type(scheduler).__name__} shifts its schedules",
            argument="sampler",
            remedy="use another sampler",
        )
    # None stands for no choice, unless the other scheduler has it as its default.
    own = {k: v for k, v in config.items() if k.startswith("_") or (k in known and (v is not None or known[k] is None))}
    chosen = {k: config[k] for k in TRAINED if k in own}
    if "shift" in known and "shift" not in settings_of(type(scheduler)) and kind_of(scheduler) == "flow":
        # Samplers of several steps have the shift by another name.
        chosen["shift"] = config.get("flow_shift", config.get("shift", 1.0))
    chosen |= {**changes, **{setting: False for setting in CLIPPING if setting in known}}
    try:
        # The chosen settings are given apart from the configuration, because diffusers takes its own defaults for
        # settings of a configuration that were never chosen; the entries with an underscore say which those are.
        other = cls.from_config(own, **chosen)
    except ImportError as error:
        raise SchedulerError(
            f"{name} needs a package that is not installed ({str(error).rstrip('.')})",
            argument="sampler",
            remedy="install it with pip",
        ) from error
    except (NotImplementedError, ValueError, TypeError, ArithmeticError) as error:
        raise SchedulerError(
            f"{name} cannot be made with the noise levels of {type(scheduler).__name__} ({error})",
            argument="sampler",
            remedy="use another sampler",
        ) from error
    if not set(changes) & set(TRAINED) and not _same_levels(scheduler, other):
        raise SchedulerError(
            f"{name} does not have the noise levels of {type(scheduler).__name__}, on which the model was trained",
            argument="sampler",
            remedy="use another sampler",
        )
    if hasattr(scheduler, "set_shift") and hasattr(other, "set_shift") and "shift" not in changes:
        other.set_shift(scheduler.shift)
    return other


def _same_levels(scheduler: Any, other: Any) -> bool:
    """Tell whether two schedulers of diffusion models have the same noise levels; True for those of other kinds."""
    import torch

    own, others = (getattr(each, "alphas_cumprod", None) for each in (scheduler, other))
    if own is None or others is None:
        return True
    # At zero terminal SNR some schedulers put 2**-24 in place of 0.
    return own.shape == others.shape and torch.allclose(own.double(), others.double(), rtol=1e-4, atol=1e-6)


def _title(kind: Any) -> str:
    return TITLES[kind]


def describe(scheduler: Any) -> dict[str, Any]:
    """Describe a scheduler as JSON-able data, from which `restore` makes an equal one.

    A configuration may carry settings of other schedulers along. Those that are no plain values are left out.
    """
    settings = {
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in scheduler.config.items()
        if not key.startswith("_")
    }
    known = settings_of(type(scheduler))
    config = {key: value for key, value in settings.items() if key in known or is_plain(value)}
    record: dict[str, Any] = {"class": type(scheduler).__name__, "config": config}
    if hasattr(scheduler, "set_shift"):
        # The configuration has the shift that the scheduler was made with, which says where a schedule ends; its
        # noise levels in between follow the shift that it was given later.
        record["shift"] = float(scheduler.shift)
    return record


def restore(record: Mapping[str, Any]) -> Any:
    """Make the scheduler that `describe` recorded.

    Raises:
        SchedulerError: if the record names none that is supported, its settings are not of their types and in their
            bounds (see `renoise.schedulers.forms`), or they make none.

    Examples:
        >>> from diffusers import DDIMScheduler
        >>> restore(describe(DDIMScheduler(beta_end=0.012))).config.beta_end
        0.012
    """
    import diffusers

    require_record(record)
    try:
        restored = made(getattr(diffusers, record["class"]), record["config"])
        if record["config"].get(_ASKED_FOR):
            restored.register_to_config(**{_ASKED_FOR: True})
        if record.get("shift") is not None:
            restored.set_shift(float(record["shift"]))
        return restored
    except (
        Exception
    ) as error:  # settings that are sensible each by itself may not be so together, which schedulers say in many ways
        raise SchedulerError(
            f"the inversion's scheduler cannot be made ({error})", remedy="invert the image again"
        ) from error


@standard()
def made(cls: Any, config: Mapping[str, Any]) -> Any:
    """Make a scheduler from a configuration that may hold settings of others, about which diffusers would warn."""
    known = settings_of(cls)
    return cls.from_config({k: v for k, v in config.items() if k in known or k.startswith("_")})


def settings_of(cls: Any) -> dict[str, Any]:
    """Return the settings that a scheduler's class has, with their defaults."""
    return {name: parameter.default for name, parameter in inspect.signature(cls.__init__).parameters.items()}
