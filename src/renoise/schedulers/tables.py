"""The steps of each supported sampler: what the attributes of diffusers' schedulers mean.

A sampler step combines the latent z, the two estimates that the network output m implies, and a noise n:

    z_{t-1} = c_x x0 + c_e eps + c_z z + rho n

and both estimates are linear in z and m by the prediction type (al = sqrt(A), si = sqrt(1 - A), A = alphas_cumprod[t]):

    epsilon        x0 = (z - si m) / al       eps = m
    v_prediction   x0 = al z - si m           eps = al m + si z
    sample         x0 = m                     eps = (z - al m) / si

so that phi and psi follow by substitution. The rows below give (c_x, c_e, c_z, rho) for each scheduler that works on
alphas, and `sigmas` has the steps of those that work on noise levels. Everything is computed in float64 from the
scheduler's own float32 tables. That each step equals `scheduler.step` is a contract test (tests/contract).

Sources: DDIM (Song et al., 2021, arXiv 2010.02502, eq. 12), DDPM (Ho et al., 2020, arXiv 2006.11239, eq. 7), LCM (Luo
et al., 2023, arXiv 2310.04378), TCD (Zheng et al., 2024, arXiv 2402.19159).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch

from renoise.errors import SchedulerError
from renoise.schedulers import sigmas
from renoise.schedulers.names import setting, unknown_prediction
from renoise.steps import Step

TCD_DEFAULT_GAMMA = 0.3
# DDPM clamps its variances at 1e-20 instead of 0: noise of that size is no noise.
SMALLEST_RHO = 1e-6

Row = tuple[float, float, float, float]
Linear = tuple[float, float]
# A function from a scheduler whose schedule is set, the number of steps and eta to the steps in sampling order.
Table = Callable[[Any, int, float | None], Iterator[Step]]


def _timesteps(scheduler: Any, num_steps: int) -> list[int]:
    # diffusers' trailing spacing counts with a floating arange and for some lengths (61, 103, ...) appends a timestep
    # -1 that no table has: the schedule is its first num_steps entries.
    timesteps = [int(t) for t in scheduler.timesteps[:num_steps]]
    trained = len(scheduler.alphas_cumprod)
    if timesteps[0] >= trained:
        raise SchedulerError(
            f"{type(scheduler).__name__} with {num_steps} steps and steps_offset={setting(scheduler, 'steps_offset')} "
            f"asks for timestep {timesteps[0]}, but the model has 0 to {trained - 1}",
            remedy="use fewer steps",
        )
    return timesteps


def _estimates(prediction_type: str, al: float, si: float) -> tuple[Linear, Linear]:
    """Return (factor of z, factor of m) of x0 and of eps."""
    if prediction_type == "epsilon":
        return (1.0 / al if al else math.inf, -si / al if al else -math.inf), (0.0, 1.0)
    if prediction_type == "v_prediction":
        return (al, -si), (si, al)
    if prediction_type == "sample":
        return (0.0, 1.0), (1.0 / si, -al / si)
    return unknown_prediction(prediction_type)


def _discrete(scheduler: Any, timesteps: list[int], row: Callable[[int, float], Row]) -> Iterator[Step]:
    """Make the steps of a scheduler that works on `alphas_cumprod`; `row(i, A)` has (c_x, c_e, c_z, rho) of step i."""
    alphas = scheduler.alphas_cumprod.double()
    for i, t in enumerate(timesteps):
        a = float(alphas[t])
        (x_z, x_m), (e_z, e_m) = _estimates(setting(scheduler, "prediction_type"), math.sqrt(a), math.sqrt(1.0 - a))
        c_x, c_e, c_z, rho = row(i, a)
        yield Step(
            phi=c_x * x_z + c_e * e_z + c_z,
            psi=c_x * x_m + c_e * e_m,
            rho=rho if rho >= SMALLEST_RHO else 0.0,
            timestep=float(t),
            alpha=math.sqrt(a),
            sigma=math.sqrt(1.0 - a),
            x0_z=x_z,
            x0_m=x_m,
            eps_z=e_z,
            eps_m=e_m,
        )


def _ddim(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    timesteps = _timesteps(scheduler, num_steps)
    alphas, final = scheduler.alphas_cumprod.double(), float(scheduler.final_alpha_cumprod)
    # DDIM steps by a fixed stride, not to timesteps[i + 1]: where the two differ, diffusers follows the stride.
    stride = setting(scheduler, "num_train_timesteps") // num_steps

    def row(i: int, a: float) -> Row:
        previous = timesteps[i] - stride
        a_prev = float(alphas[previous]) if previous >= 0 else final
        variance = (1.0 - a_prev) / (1.0 - a) * (1.0 - a / a_prev)
        rho = (eta or 0.0) * math.sqrt(max(variance, 0.0))
        return math.sqrt(a_prev), math.sqrt(max(1.0 - a_prev - rho**2, 0.0)), 0.0, rho

    return _discrete(scheduler, timesteps, row)


def _ddpm(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    timesteps = _timesteps(scheduler, num_steps)
    alphas = scheduler.alphas_cumprod.double()
    large = setting(scheduler, "variance_type") == "fixed_large"

    def row(i: int, a: float) -> Row:
        a_prev = float(alphas[timesteps[i + 1]]) if i + 1 < len(timesteps) else 1.0
        beta = 1.0 - a / a_prev
        variance = beta if large else (1.0 - a_prev) / (1.0 - a) * beta
        rho = math.sqrt(max(variance, 0.0)) if timesteps[i] > 0 else 0.0
        return math.sqrt(a_prev) * beta / (1.0 - a), 0.0, math.sqrt(a / a_prev) * (1.0 - a_prev) / (1.0 - a), rho

    return _discrete(scheduler, timesteps, row)


def _lcm(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    timesteps = _timesteps(scheduler, num_steps)
    alphas = scheduler.alphas_cumprod.double()

    def row(i: int, a: float) -> Row:
        c_skip, c_out = map(float, scheduler.get_scalings_for_boundary_condition_discrete(timesteps[i]))
        if i + 1 == len(timesteps):
            return c_out, 0.0, c_skip, 0.0
        a_prev = float(alphas[timesteps[i + 1]])
        al_prev = math.sqrt(a_prev)
        return al_prev * c_out, 0.0, al_prev * c_skip, math.sqrt(1.0 - a_prev)

    return _discrete(scheduler, timesteps, row)


def _tcd(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    timesteps = _timesteps(scheduler, num_steps)
    alphas = scheduler.alphas_cumprod.double()
    gamma = TCD_DEFAULT_GAMMA if eta is None else eta

    def row(i: int, a: float) -> Row:
        last = i + 1 == len(timesteps)
        t_prev = 0 if last else timesteps[i + 1]
        # In float32, as the scheduler does it: the product can lie within rounding of a whole number.
        q = int(torch.floor((1 - gamma) * torch.tensor(t_prev, dtype=torch.float32)))
        a_q = float(alphas[q])
        ratio = 1.0 if last or gamma == 0.0 else float(alphas[t_prev]) / a_q
        r = math.sqrt(ratio)
        return r * math.sqrt(a_q), r * math.sqrt(1.0 - a_q), 0.0, math.sqrt(max(1.0 - ratio, 0.0))

    return _discrete(scheduler, timesteps, row)


# By the class in diffusers, in the order of `names.SUPPORTED`.
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "DDIMScheduler": _ddim,
        "DDPMScheduler": _ddpm,
        "EulerDiscreteScheduler": sigmas.euler_discrete,
        "EulerAncestralDiscreteScheduler": sigmas.euler_ancestral,
        "LCMScheduler": _lcm,
        "TCDScheduler": _tcd,
        "FlowMatchEulerDiscreteScheduler": sigmas.flow_match_euler,
        "FlowMatchLCMScheduler": sigmas.flow_match_lcm,
        "FlowMapEulerDiscreteScheduler": sigmas.flow_map_euler,
        "SCMScheduler": sigmas.scm,
        "EDMEulerScheduler": sigmas.edm_euler,
    }
)
