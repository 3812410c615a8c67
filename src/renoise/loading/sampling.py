"""The sampler that a loaded model gets: as its file says how it was trained, with the spacing that is asked for."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from renoise.errors import Argument, AssumedSamplingWarning, ConfigError, ModelError, RenoiseWarning, SchedulerError
from renoise.loading.training import Training
from renoise.schedulers import SUPPORTED, exchanged, is_flow
from renoise.schedulers.names import SAMPLERS

log = logging.getLogger("renoise")

# How diffusers spaces the timesteps of a schedule, and the formulas that some of its schedulers have for the noise
# levels between the first and the last: Karras et al. (2022, arXiv 2206.00364, eq. 5), levels in equal ratios, and
# Lee et al. (2024, arXiv 2407.12173).
_OF_TIMESTEPS, _OF_LEVELS = ("leading", "trailing", "linspace"), ("karras", "exponential", "beta")
SPACINGS = (*_OF_TIMESTEPS, *_OF_LEVELS)
_OF_EDM_LEVELS = ("karras", "exponential")
# Playground 2.5's autoencoder, whose file has the statistics of the latents and not their scale.
_STANDARDISED_SCALE = 0.5
# A length at which spacings differ, if they do at all.
_LENGTH = 4


def follow(pipe: Any, training: Training, path: Path, options: Mapping[str, Any]) -> None:
    """Sample a single file's model as the file says that it was trained, and say what was read.

    Args:
        pipe: the pipeline, whose scheduler and the settings of whose networks are changed.
        training: what the file says.
        path: the file.
        options: the user's options, which take precedence: `scheduler`, and `prediction_type` for what is predicted.

    Raises:
        ModelError: if the model is sampled in a way that its family does not know.

    Warns:
        RenoiseWarning: if the file makes no sense, or says other than the configuration.
    """
    for doubt in training.doubts:
        warnings.warn(RenoiseWarning(f"{path.name}: {doubt}", argument="model"), stacklevel=2)
    if training.resolution is not None:
        _follow_resolution(pipe, training.resolution, path)
    if options.get("scheduler") is not None:
        return
    if options.get("prediction_type") is not None:
        training = replace(training, prediction=options["prediction_type"])
    before = pipe.scheduler
    if is_flow(before):
        if training.prediction not in (None, "flow"):
            problem = f"{path.name} says {training.prediction}, but is sampled as the flow that its family is"
            warnings.warn(RenoiseWarning(problem, argument="model"), stacklevel=2)
        return
    if training.prediction == "flow":
        raise ModelError(
            f"{path} says that its model predicts a flow's velocity, which is not sampled in its family",
            argument="model",
            remedy="use a model that predicts noise or v, or give scheduler=... in Python",
        )
    if training.sigmas is not None:
        _follow_sigmas(pipe, training)
    else:
        _follow_prediction(pipe, training, path)
    _say(path, training, before, pipe.scheduler)


def _follow_prediction(pipe: Any, training: Training, path: Path) -> None:
    """Take what the model predicts and where its noise levels end.

    With noise levels that end in noise alone the schedule has to begin there, as with trailing spacing (Lin et al.,
    2023, arXiv 2305.08891).
    """
    changes: dict[str, Any] = {}
    if training.prediction is not None:
        changes["prediction_type"] = training.prediction
    if training.zero_snr:
        if (training.prediction or pipe.scheduler.config.get("prediction_type")) == "epsilon":
            problem = f"{path.name} says zero terminal SNR, from which noise prediction cannot begin; it is left out"
            warnings.warn(RenoiseWarning(problem, argument="model"), stacklevel=2)
        else:
            changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    config = pipe.scheduler.config
    if all(config.get(name) == value for name, value in changes.items()):
        return
    name = type(pipe.scheduler).__name__
    pipe.scheduler = exchanged(pipe.scheduler, name if name in SUPPORTED else SAMPLERS["ddim"], **changes)


def _follow_sigmas(pipe: Any, training: Training) -> None:
    """Take the noise levels of Karras et al., and the statistics of the latents."""
    from diffusers import EDMEulerScheduler

    if training.sigmas is None:
        return
    least, most = training.sigmas
    pipe.scheduler = EDMEulerScheduler(
        sigma_min=least,
        sigma_max=most,
        sigma_data=training.data_deviation,
        prediction_type=training.prediction or "epsilon",
        # As their makers publish the two models: Playground 2.5, and CosXL, which predicts v.
        sigma_schedule="exponential" if training.prediction == "v_prediction" else "karras",
    )
    if training.mean is None or training.deviation is None:
        return
    channels = pipe.vae.config.latent_channels
    if len(training.mean) != channels:
        raise ModelError(
            f"the file has statistics of {len(training.mean)} channels, but latents have {channels}", argument="model"
        )
    pipe.vae.register_to_config(
        latents_mean=list(training.mean),
        latents_std=list(training.deviation),
        scaling_factor=_STANDARDISED_SCALE,
    )


def _follow_resolution(pipe: Any, resolution: tuple[int, int], path: Path) -> None:
    """Take the size of the images that the model was trained on, where its network's configuration holds one."""
    network, scale = getattr(pipe, "unet", None), int(pipe.vae_scale_factor)
    if network is None or network.config.get("sample_size") is None:
        return
    height, width = resolution
    own = network.config.sample_size
    sides = (own, own) if isinstance(own, int) else tuple(own)
    size = (height // scale, width // scale)
    if size == sides:
        return
    if height % scale or width % scale:
        problem = f"{path.name} says images of {width} x {height} pixels, which its latents cannot have"
        warnings.warn(RenoiseWarning(problem, argument="model"), stacklevel=2)
        return
    network.register_to_config(sample_size=size[0] if size[0] == size[1] else list(size))
    log.info("%s says images of %d x %d pixels (modelspec.resolution); taking that size", path.name, width, height)


def _say(path: Path, training: Training, before: Any, after: Any) -> None:
    """Say what was read of a file: as a warning if it is not what the configuration says."""
    if not training.read:
        return
    said = [str(after.config.get("prediction_type"))]
    said += ["zero terminal SNR with trailing spacing"] if after.config.get("rescale_betas_zero_snr") else []
    said += [f"noise levels up to {training.sigmas[1]:g}"] if training.sigmas is not None else []
    said += ["standardised latents"] if training.mean is not None else []
    text = f"{path.name} says how it was trained ({', '.join(training.read)}): it is sampled by {', '.join(said)}"
    if after is before:
        log.info("%s", text)
        return
    remedy = "to sample it otherwise, give scheduler=... in Python"
    warnings.warn(RenoiseWarning(text, argument="model", remedy=remedy), stacklevel=2)


def require_spacing(spacing: Any) -> None:
    """Check the name of a spacing of timesteps or of noise levels.

    Raises:
        ConfigError: if there is none of that name.

    Examples:
        >>> require_spacing("trailing")
    """
    if spacing is not None and spacing not in SPACINGS:
        raise ConfigError(
            Argument("spacing"), f" must be {', '.join(SPACINGS[:-1])} or {SPACINGS[-1]}, not {str(spacing)!r}"
        )


def spaced(scheduler: Any, spacing: str) -> Any:
    """Return a scheduler whose schedules have another spacing of timesteps or of noise levels.

    Args:
        scheduler: a diffusers scheduler, which is not changed.
        spacing: one of `SPACINGS`. Models of a few steps (Lightning, Turbo) and those of zero terminal SNR want
            "trailing". "karras", "exponential" and "beta" space the noise levels, of Euler samplers and of flows; what
            the other schedulers of a pipeline's family can do is up to them.

    Raises:
        SchedulerError: if spacings make no difference to its schedules, or need a package that is not installed.

    Examples:
        >>> from diffusers import EulerDiscreteScheduler
        >>> spaced(EulerDiscreteScheduler(), "trailing").config.timestep_spacing
        'trailing'
        >>> spaced(EulerDiscreteScheduler(), "karras").config.use_karras_sigmas
        True
    """
    return _with_levels(scheduler, spacing) if spacing in _OF_LEVELS else _with_timesteps(scheduler, spacing)


def _with_timesteps(scheduler: Any, spacing: str) -> Any:
    name = type(scheduler).__name__
    if "timestep_spacing" in scheduler.config and name in SUPPORTED:
        tried = [exchanged(scheduler, name, timestep_spacing=one) for one in _OF_TIMESTEPS]
        for other in tried:
            other.set_timesteps(_LENGTH)
        if len({tuple(other.timesteps.tolist()) for other in tried}) > 1:
            return exchanged(scheduler, name, timestep_spacing=spacing)
    raise SchedulerError(
        f"the timesteps of {name} are spaced in one way alone", argument="spacing", remedy="leave the spacing out"
    )


def _with_levels(scheduler: Any, spacing: str) -> Any:
    name, own = type(scheduler).__name__, f"use_{spacing}_sigmas"
    if name in SUPPORTED and own in scheduler.config:
        return exchanged(scheduler, name, **{f"use_{one}_sigmas": one == spacing for one in _OF_LEVELS})
    if name in SUPPORTED and spacing in _OF_EDM_LEVELS and "sigma_schedule" in scheduler.config:
        return exchanged(scheduler, name, sigma_schedule=spacing)
    raise SchedulerError(
        f"the noise levels of {name} have no spacing called {spacing}",
        argument="spacing",
        remedy=("leave the spacing out, or give ", Argument("sampler", "euler"), " with it, if it is no flow"),
    )


def remark_on_few_steps(pipe: Any, training: Training, path: Path) -> None:
    """Remark on a file whose title or name is that of a model of few steps, but which is sampled as one of many.

    Warns:
        AssumedSamplingWarning: if it is.
    """
    config = pipe.scheduler.config
    by_consistency = "original_inference_steps" in config or type(pipe.scheduler).__name__ == SAMPLERS["tcd"]
    if training.few_steps is None or is_flow(pipe.scheduler) or by_consistency or training.sigmas is not None:
        return
    if config.get("timestep_spacing") == "trailing":
        return
    warnings.warn(
        AssumedSamplingWarning(
            f"{path.name} is called {training.few_steps}, as models of a few steps are, but nothing in it says how it "
            "is sampled: it is taken for a model of many steps",
            argument="spacing",
            remedy=(
                "if it is one of a few, give ",
                Argument("spacing", "trailing"),
                " with ",
                Argument("sampler", "euler"),
                ", or ",
                Argument("sampler", "lcm"),
                " for an LCM, or name it: ",
                Argument("preset", "sdxl-lightning-4"),
                " and the like (renoise models lists them)",
            ),
        ),
        stacklevel=2,
    )
