"""The steps of samplers that work on noise levels: Euler's, with EDM's preconditioning or without, and those of flows.

Sources: Euler, Euler ancestral and EDM (Karras et al., 2022, arXiv 2206.00364, and k-diffusion), flow matching (Lipman
et al., 2023, arXiv 2210.02747; Esser et al., 2024, arXiv 2403.03206).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renoise.errors import SchedulerError
from renoise.schedulers.names import setting, unknown_prediction
from renoise.steps import Step

Linear = tuple[float, float]
LogLevels = np.ndarray[Any, np.dtype[np.float64]]


def _euler(scheduler: Any, num_steps: int, *, ancestral: bool) -> Iterator[Step]:
    """Make Euler's steps in sigma units: z' = z + (z - x0) / s * (s_to - s), then noise of deviation s_up."""
    prediction = setting(scheduler, "prediction_type")
    if prediction in ("sample", "original_sample") and ancestral:
        raise SchedulerError(
            "EulerAncestralDiscreteScheduler does not implement sample prediction",
            remedy="use EulerDiscreteScheduler or DDIM",
        )
    # The first num_steps sigmas and the terminal one: trailing spacing may have a surplus entry (see `_timesteps`), and
    # log-linear interpolation has one more noise level, at which its last step ends.
    end = num_steps if setting(scheduler, "interpolation_type") == "log_linear" else -1
    sigmas = [float(s) for s in (*scheduler.sigmas[:num_steps], scheduler.sigmas[end])]
    # Models of continuous time are told a logarithm of the noise level.
    continuous = setting(scheduler, "timestep_type") == "continuous" and prediction == "v_prediction"
    levels = _log_levels(scheduler.alphas_cumprod) if continuous else None
    for i, t in enumerate(scheduler.timesteps[:num_steps]):
        s, s_next = sigmas[i], sigmas[i + 1]
        s_up = math.sqrt(s_next**2 * max(s**2 - s_next**2, 0.0) / s**2) if ancestral else 0.0
        estimate = {
            "epsilon": (1.0, -s),
            "v_prediction": (1.0 / (s**2 + 1.0), -s / math.sqrt(s**2 + 1.0)),
            "sample": (0.0, 1.0),
            "original_sample": (0.0, 1.0),
        }.get(prediction) or unknown_prediction(prediction)
        step = _from_sigma(s, math.sqrt(max(s_next**2 - s_up**2, 0.0)), estimate, float(t), 1.0)
        yield replace(step, rho=s_up, stage=None if levels is None else _timestep_at(s, levels))


def _from_sigma(s: float, s_to: float, estimate: Linear, timestep: float, deviation: float) -> Step:
    """Make Euler's step from one noise level to another, for data of a deviation and x0 as factors of z and m."""
    x_z, x_m = estimate
    change = (s_to - s) / s
    return Step(
        phi=1.0 + change * (1.0 - x_z),
        psi=-change * x_m,
        rho=0.0,
        timestep=timestep,
        input_scale=1.0 / math.sqrt(s**2 + deviation**2),
        alpha=1.0,
        sigma=s,
        x0_z=x_z,
        x0_m=x_m,
        eps_z=(1.0 - x_z) / s,
        eps_m=-x_m / s,
    )


def euler_discrete(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make Euler's steps."""
    return _euler(scheduler, num_steps, ancestral=False)


def euler_ancestral(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make the steps of Euler ancestral."""
    return _euler(scheduler, num_steps, ancestral=True)


def edm_euler(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make Euler's steps with the preconditioning of EDM, for data of the deviation sigma_data."""
    prediction, deviation = setting(scheduler, "prediction_type"), float(setting(scheduler, "sigma_data"))
    sign = {"epsilon": 1.0, "v_prediction": -1.0}.get(prediction)
    if sign is None:
        raise SchedulerError(
            f"prediction_type={prediction!r} is unknown to EDMEulerScheduler", remedy="use epsilon or v_prediction"
        )
    sigmas = [float(s) for s in scheduler.sigmas]
    if not (deviation > 0.0 and min(sigmas[:-1]) > 0.0):
        raise SchedulerError(
            f"EDMEulerScheduler has sigma_data={deviation:g} and a smallest noise level of {min(sigmas[:-1]):g}, but "
            "both must be above 0",
            remedy="use those that the model was trained with",
        )
    levels = _log_levels(_published_alphas())
    for i, t in enumerate(scheduler.timesteps):
        s, size = sigmas[i], math.sqrt(sigmas[i] ** 2 + deviation**2)
        estimate = (deviation / size) ** 2, sign * s * deviation / size
        step = _from_sigma(s, sigmas[i + 1], estimate, float(t), deviation)
        # Its latents have the deviation sigma_data, where those of other models have about 1.
        yield replace(step, stage=_timestep_at(s / deviation, levels))


@cache
def _published_alphas() -> Tensor:
    """Return the products of alphas of Stable Diffusion and SDXL, by whose timesteps settings are chosen."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64, device="cpu") ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def _log_levels(alphas: Tensor) -> LogLevels:
    """Return the logarithm of the noise level at each timestep of a table of alphas, in rising order."""
    a = alphas.double().numpy()
    levels: LogLevels = np.log((1.0 - a) / a) / 2.0
    return levels


def _timestep_at(level: float, log_levels: LogLevels) -> float:
    """Return the timestep, interpolated, at which a table has a noise level."""
    return float(np.interp(math.log(level), log_levels, np.arange(len(log_levels))))


def flow_match_euler(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make the steps on the straight path z_s = (1 - s) x0 + s eps with velocity m = eps - x0, so x0 = z - s m."""
    renews = bool(setting(scheduler, "stochastic_sampling", False))
    yield from (_on_straight_path(t, s, s_next, renews=renews) for t, s, s_next in _levels(scheduler))


def flow_match_lcm(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make the steps of consistency sampling on the straight path, which noise the predicted image anew."""
    yield from (_on_straight_path(t, s, s_next, renews=True) for t, s, s_next in _levels(scheduler))


def flow_map_euler(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make the steps of a flow map, whose network predicts the mean velocity on the way and is told where it ends.

    Source: Gu et al., 2026, arXiv 2605.13724.
    """
    trained = int(setting(scheduler, "num_train_timesteps"))
    for t, s, s_next in _levels(scheduler):
        yield replace(_on_straight_path(t, s, s_next, renews=False), leads_to=s_next * trained)


def scm(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """Make the steps of consistency sampling on TrigFlow's arc, z_s = cos(s) x0 + sin(s) d eps for data of deviation d.

    The velocity is m = cos(s) d eps - sin(s) x0, so that x0 = cos(s) z - sin(s) m. At s = pi / 2 the latent is noise
    alone, and a step from there forgets it. Source: Lu and Song, 2024, arXiv 2410.11081.
    """
    if (prediction := setting(scheduler, "prediction_type")) != "trigflow":
        raise SchedulerError(
            f"prediction_type={prediction!r} is unknown to SCMScheduler", remedy="use trigflow, which it samples alone"
        )
    deviation = float(setting(scheduler, "sigma_data"))
    levels = _log_levels(_published_alphas())
    times = [float(t) for t in scheduler.timesteps]
    for s, t in pairwise(times):
        cos, sin = math.cos(s), math.sin(s)
        alpha = max(cos, 0.0)  # schedules begin at pi / 2, rounded up
        yield Step(
            phi=math.cos(t) * cos,
            psi=-math.cos(t) * sin,
            rho=deviation * math.sin(t),
            timestep=s,
            alpha=alpha,
            sigma=deviation * sin,
            x0_z=cos,
            x0_m=-sin,
            eps_z=sin / deviation,
            eps_m=cos / deviation,
            stage=_timestep_at(sin / alpha, levels) if alpha else float(len(levels) - 1),
        )


def _levels(scheduler: Any) -> Iterator[tuple[float, float, float]]:
    """Return the timestep of each step of a flow, its noise level, and the one at which it ends."""
    sigmas = [float(s) for s in scheduler.sigmas.double()]
    yield from zip((float(t) for t in scheduler.timesteps), sigmas, sigmas[1:], strict=False)


def _on_straight_path(timestep: float, s: float, s_next: float, *, renews: bool) -> Step:
    """Make a step on the straight path: along the velocity, or from the predicted image with new noise."""
    phi, psi, rho = (1.0 - s_next, -(1.0 - s_next) * s, s_next) if renews else (1.0, s_next - s, 0.0)
    return Step(phi, psi, rho, timestep, alpha=1.0 - s, sigma=s, x0_z=1.0, x0_m=-s, eps_z=1.0, eps_m=1.0 - s)
