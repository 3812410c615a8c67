"""diffusers schedulers as tables of `Step`s: the only module that knows what their attributes mean.

A sampler step combines the latent z, the two estimates that the network output m implies, and a noise n:

    z_{t-1} = c_x x0 + c_e eps + c_z z + rho n

and both estimates are linear in z and m by the prediction type (al = sqrt(A), si = sqrt(1 - A), A = alphas_cumprod[t]):

    epsilon        x0 = (z - si m) / al       eps = m
    v_prediction   x0 = al z - si m           eps = al m + si z
    sample         x0 = m                     eps = (z - al m) / si

so that phi and psi follow by substitution. The rows below give (c_x, c_e, c_z, rho) for each scheduler; a new sampler
is a new row. Everything is computed in float64 from the scheduler's own float32 tables.

Sources: DDIM (Song et al., 2021, arXiv 2010.02502, eq. 12), DDPM (Ho et al., 2020, arXiv 2006.11239, eq. 7), Euler and
Euler ancestral (Karras et al., 2022, arXiv 2206.00364, and k-diffusion), LCM (Luo et al., 2023, arXiv 2310.04378), TCD
(Zheng et al., 2024, arXiv 2402.19159), flow matching (Lipman et al., 2023, arXiv 2210.02747; Esser et al., 2024, arXiv
2403.03206). That each row equals `scheduler.step` is a contract test (tests/contract).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch

from renoise.catalogue import SAMPLERS
from renoise.errors import ConfigError, SchedulerError
from renoise.steps import Step

TCD_DEFAULT_GAMMA = 0.3
_CLIPPING = ("clip_sample", "thresholding")
# DDPM clamps its variances at 1e-20 instead of 0: noise of that size is no noise.
SMALLEST_RHO = 1e-6

Row = tuple[float, float, float, float]
Linear = tuple[float, float]


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
    if name in _TABLES and _is_flow(name) == flow:
        return
    mend = "FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)"
    if not flow:
        mend = "DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)"
    suited = ", ".join(known for known in SUPPORTED if _is_flow(known) == flow)
    why = "is made for another kind of model" if name in _TABLES else "does not take single affine steps"
    raise SchedulerError(
        f"{name} {why}, so that it cannot be inverted here; use one of {suited}, for example: pipe.scheduler = {mend}"
    )


def steps_for(
    scheduler: Any,
    num_steps: int,
    *,
    eta: float | None = None,
    strength: float = 1.0,
    mu: float | None = None,
    sigmas: Sequence[float] | None = None,
) -> tuple[Step, ...]:
    """The sampler's steps in sampling order (index 0 = the noisiest), read off a copy of `scheduler`.

    Args:
        scheduler: a diffusers scheduler out of `SUPPORTED`; it is not changed.
        num_steps: length of the whole schedule, 1 up to the number of training timesteps.
        eta: DDIM's eta or TCD's gamma, in [0, 1]; None is 0 and 0.3. Other schedulers have no such setting.
        strength: the share of the schedule that is used, in (0, 1]; below 1 the noisiest steps are left out, rounded
            as diffusers' image-to-image pipelines do: to fewer steps, or to more for flow matching.
        mu: the shift of flow-matching schedulers with `use_dynamic_shifting`.
        sigmas: noise levels of the steps before any shift, in place of the scheduler's own; flow matching alone.

    Raises:
        SchedulerError: if the scheduler's law is not affine (clipping, thresholding, a multi-step sampler), or it has
            no such schedule.
        ConfigError: if a setting is out of range.

    Example:
        >>> from diffusers import DDIMScheduler
        >>> steps = steps_for(DDIMScheduler(clip_sample=False), 50)
        >>> len(steps), steps[0].timestep
        (50, 980.0)
    """
    name = type(scheduler).__name__
    if name not in _TABLES:
        require_kind(scheduler, flow=not hasattr(scheduler, "alphas_cumprod"))
    _check_settings(scheduler, name, num_steps, eta, strength, mu)
    copy = _scheduled_copy(scheduler, num_steps, mu, sigmas)
    try:
        steps = tuple(_TABLES[name](copy, num_steps, eta))
    except ArithmeticError as error:
        raise SchedulerError(
            f"{name} has no finite steps with its noise schedule ({error}); use the one that the model was trained with"
        ) from error
    for step in steps:
        if not all(math.isfinite(x) for x in (step.phi, step.psi, step.rho)):
            raise SchedulerError(
                f"{name} has no finite step at timestep {step.timestep:g} for "
                f"{_get(copy, 'prediction_type')} prediction (zero terminal SNR wants v prediction); "
                "use prediction_type='v_prediction' if the model was trained with it, or rescale_betas_zero_snr=False"
            )
    used = min(int(num_steps * strength), num_steps)
    if _is_flow(name):
        used = num_steps - int(max(num_steps - num_steps * strength, 0.0))
    if used < 1:
        raise ConfigError(
            f"strength={strength:g} of {num_steps} steps leaves no step; use at least {1 / num_steps:.3g} or more steps"
        )
    return steps[len(steps) - used :]


def _is_flow(name: str) -> bool:
    """Whether a scheduler of that class samples models of flow matching."""
    return name.startswith("FlowMatch")


def _check_settings(
    scheduler: Any, name: str, num_steps: int, eta: float | None, strength: float, mu: float | None
) -> None:
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
        raise ConfigError(f"num_steps must be a whole number of at least 1, not {num_steps!r}")
    trained = int(_get(scheduler, "num_train_timesteps"))
    if num_steps > trained:
        raise ConfigError(f"num_steps={num_steps} is more than the {trained} timesteps that the model was trained on")
    if eta is not None and name not in ("DDIMScheduler", "TCDScheduler"):
        raise ConfigError(f"eta={eta:g} was given, but {name} has no such setting; leave eta=None")
    if eta is not None and not 0.0 <= eta <= 1.0:
        raise ConfigError(f"eta must be in [0, 1], not {eta:g}")
    if not 0.0 < strength <= 1.0:
        raise ConfigError(f"strength must be above 0 and at most 1, not {strength:g}")
    for setting in _CLIPPING:
        if _get(scheduler, setting, False):
            raise SchedulerError(
                f"{name} has {setting}=True, which clips the sample and makes the step impossible to invert; use "
                f"pipe.scheduler = {name}.from_config(pipe.scheduler.config, {setting}=False)"
            )
    if _get(scheduler, "invert_sigmas", False):
        raise SchedulerError(f"{name} has invert_sigmas=True, which no supported model family uses; set it to False")
    if _get(scheduler, "use_dynamic_shifting", False) and mu is None:
        raise SchedulerError(
            f"{name} shifts its schedule by the image's size; give mu, or set use_dynamic_shifting=False"
        )
    variance = _get(scheduler, "variance_type", "fixed_small")
    if variance not in ("fixed_small", "fixed_small_log", "fixed_large"):
        raise SchedulerError(
            f"{name} has variance_type={variance!r}, but only fixed variances can be inverted; "
            "use variance_type='fixed_small'"
        )


def _scheduled_copy(scheduler: Any, num_steps: int, mu: float | None, sigmas: Sequence[float] | None) -> Any:
    """A copy with its schedule set: the user's object keeps its own counters and timesteps."""
    options: dict[str, Any] = {"mu": mu} if _get(scheduler, "use_dynamic_shifting", False) else {}
    if sigmas is not None and _is_flow(type(scheduler).__name__):
        options["sigmas"] = list(sigmas)
    try:
        copy = _made(type(scheduler), scheduler.config)
        if hasattr(scheduler, "set_shift"):
            copy.set_shift(scheduler.shift)
        copy.set_timesteps(num_steps, **options)
    except Exception as error:  # schedulers check little of their configuration and fail as they may
        raise SchedulerError(
            f"{type(scheduler).__name__} has no schedule of {num_steps} steps ({error}); use another num_steps"
        ) from error
    return copy


def _made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A scheduler from a configuration that may hold entries of others, about which diffusers would warn each time."""
    known = set(inspect.signature(kind.__init__).parameters)
    return kind.from_config({k: v for k, v in config.items() if k in known or k.startswith("_")})


def _get(scheduler: Any, key: str, default: Any = None) -> Any:
    return scheduler.config.get(key, default)


def _timesteps(scheduler: Any, num_steps: int) -> list[int]:
    # diffusers' trailing spacing counts with a floating arange and for some lengths (61, 103, ...) appends a timestep
    # -1 that no table has: the schedule is its first num_steps entries.
    timesteps = [int(t) for t in scheduler.timesteps[:num_steps]]
    trained = len(scheduler.alphas_cumprod)
    if timesteps[0] >= trained:
        raise SchedulerError(
            f"{type(scheduler).__name__} with {num_steps} steps and steps_offset={_get(scheduler, 'steps_offset')} "
            f"asks for timestep {timesteps[0]}, but the model has 0 to {trained - 1}; use fewer steps"
        )
    return timesteps


def _estimates(prediction_type: str, al: float, si: float) -> tuple[Linear, Linear]:
    """(factor of z, factor of m) of x0 and of eps."""
    if prediction_type == "epsilon":
        return (1.0 / al if al else math.inf, -si / al if al else -math.inf), (0.0, 1.0)
    if prediction_type == "v_prediction":
        return (al, -si), (si, al)
    if prediction_type == "sample":
        return (0.0, 1.0), (1.0 / si, -al / si)
    return _unknown(prediction_type)


def _unknown(prediction_type: str) -> NoReturn:
    raise SchedulerError(f"prediction_type={prediction_type!r} is unknown; expected epsilon, v_prediction or sample")


def _discrete(scheduler: Any, timesteps: list[int], row: Callable[[int, float], Row]) -> Iterator[Step]:
    """Steps of a scheduler that works on `alphas_cumprod`; `row(i, A)` gives (c_x, c_e, c_z, rho) of step i."""
    alphas = scheduler.alphas_cumprod.double()
    for i, t in enumerate(timesteps):
        a = float(alphas[t])
        (x_z, x_m), (e_z, e_m) = _estimates(_get(scheduler, "prediction_type"), math.sqrt(a), math.sqrt(1.0 - a))
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
    stride = _get(scheduler, "num_train_timesteps") // num_steps

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
    large = _get(scheduler, "variance_type") == "fixed_large"

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
        q = int(torch.floor((1 - gamma) * torch.tensor(t_prev)))
        a_q = float(alphas[q])
        ratio = 1.0 if last or gamma == 0.0 else float(alphas[t_prev]) / a_q
        r = math.sqrt(ratio)
        return r * math.sqrt(a_q), r * math.sqrt(1.0 - a_q), 0.0, math.sqrt(max(1.0 - ratio, 0.0))

    return _discrete(scheduler, timesteps, row)


def _euler(scheduler: Any, num_steps: int, *, ancestral: bool) -> Iterator[Step]:
    """Euler's step in sigma units: z' = z + (z - x0) / s * (s_to - s), then noise of deviation s_up."""
    prediction = _get(scheduler, "prediction_type")
    if prediction in ("sample", "original_sample") and ancestral:
        raise SchedulerError(
            "EulerAncestralDiscreteScheduler does not implement sample prediction; use EulerDiscreteScheduler or DDIM"
        )
    # The first num_steps sigmas and the terminal one: trailing spacing may have a surplus entry (see `_timesteps`).
    sigmas = [float(s) for s in (*scheduler.sigmas[:num_steps], scheduler.sigmas[-1])]
    for i, t in enumerate(scheduler.timesteps[:num_steps]):
        s, s_next = sigmas[i], sigmas[i + 1]
        s_up = math.sqrt(s_next**2 * max(s**2 - s_next**2, 0.0) / s**2) if ancestral else 0.0
        s_to = math.sqrt(max(s_next**2 - s_up**2, 0.0))
        x_z, x_m = {
            "epsilon": (1.0, -s),
            "v_prediction": (1.0 / (s**2 + 1.0), -s / math.sqrt(s**2 + 1.0)),
            "sample": (0.0, 1.0),
            "original_sample": (0.0, 1.0),
        }.get(prediction) or _unknown(prediction)
        change = (s_to - s) / s
        yield Step(
            phi=1.0 + change * (1.0 - x_z),
            psi=-change * x_m,
            rho=s_up,
            timestep=float(t),
            input_scale=1.0 / math.sqrt(s**2 + 1.0),
            alpha=1.0,
            sigma=s,
            x0_z=x_z,
            x0_m=x_m,
            eps_z=(1.0 - x_z) / s,
            eps_m=-x_m / s,
        )


def _euler_discrete(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    return _euler(scheduler, num_steps, ancestral=False)


def _euler_ancestral(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    return _euler(scheduler, num_steps, ancestral=True)


def _flow_match_euler(scheduler: Any, num_steps: int, eta: float | None) -> Iterator[Step]:
    """The straight path z_s = (1 - s) x0 + s eps with velocity m = eps - x0, so x0 = z - s m."""
    sigmas = [float(s) for s in scheduler.sigmas.double()]
    for i, t in enumerate(scheduler.timesteps):
        s, s_next = sigmas[i], sigmas[i + 1]
        phi, psi, rho = 1.0, s_next - s, 0.0
        if _get(scheduler, "stochastic_sampling", False):
            phi, psi, rho = 1.0 - s_next, -(1.0 - s_next) * s, s_next
        yield Step(phi, psi, rho, float(t), alpha=1.0 - s, sigma=s, x0_z=1.0, x0_m=-s, eps_z=1.0, eps_m=1.0 - s)


_TABLES: dict[str, Callable[[Any, int, float | None], Iterator[Step]]] = {
    "DDIMScheduler": _ddim,
    "DDPMScheduler": _ddpm,
    "EulerDiscreteScheduler": _euler_discrete,
    "EulerAncestralDiscreteScheduler": _euler_ancestral,
    "LCMScheduler": _lcm,
    "TCDScheduler": _tcd,
    "FlowMatchEulerDiscreteScheduler": _flow_match_euler,
}

SUPPORTED: tuple[str, ...] = tuple(_TABLES)


def sampler_class(name: str) -> str:
    """The class in diffusers of a sampler that is named by it or by its short name.

    Raises:
        SchedulerError: if it is neither.

    Example:
        >>> sampler_class("lcm")
        'LCMScheduler'
    """
    if isinstance(name, str) and (name in SAMPLERS or name in _TABLES):
        return SAMPLERS.get(name, name)
    raise SchedulerError(
        f"sampler {name!r} is unknown; use one of {', '.join(SAMPLERS)}, or one of their classes in diffusers: "
        f"{', '.join(SUPPORTED)}"
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

    if not isinstance(name, str) or name not in _TABLES:
        raise SchedulerError(f"{name!r} is not supported; use one of {', '.join(SUPPORTED)}")
    if _is_flow(name) == hasattr(scheduler, "alphas_cumprod"):
        raise SchedulerError(
            f"{type(scheduler).__name__} and {name} sample two kinds of models, diffusion and flow matching, so that "
            "neither can stand in for the other; use a sampler of the model's own kind"
        )
    kind = getattr(diffusers, name)
    known = set(inspect.signature(kind.__init__).parameters)
    unknown = set(changes) - known
    if unknown:
        raise SchedulerError(f"{name} has no setting {', '.join(sorted(unknown))}")
    for setting in _CLIPPING:
        if changes.get(setting):
            raise SchedulerError(f"{setting}=True makes the steps impossible to invert; leave it out")
    own = {k: v for k, v in scheduler.config.items() if k in known or k.startswith("_")}
    chosen = {**changes, **{setting: False for setting in _CLIPPING if setting in known}}
    try:
        # Apart, because diffusers takes its own defaults for settings of a configuration that were never chosen; the
        # entries that it keeps for itself say which those are.
        made = kind.from_config(own, **chosen)
    except NotImplementedError as error:
        raise SchedulerError(
            f"{name} cannot be made with the noise levels of {type(scheduler).__name__} ({error}); use another sampler"
        ) from error
    if hasattr(scheduler, "set_shift") and hasattr(made, "set_shift") and "shift" not in changes:
        made.set_shift(scheduler.shift)
    return made


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

    if record["class"] not in _TABLES:
        raise SchedulerError(f"the inversion names the scheduler {record['class']!r}, which is not supported")
    try:
        made = _made(getattr(diffusers, record["class"]), record["config"])
        if record.get("shift") is not None:
            made.set_shift(float(record["shift"]))
        return made
    except Exception as error:  # a scheduler checks little and fails as it may on a configuration that makes no sense
        raise SchedulerError(f"the inversion's scheduler cannot be made ({error}); invert the image again") from error
