"""The settings of each sampler with their types and bounds: what a scheduler from a file may say of itself.

diffusers' schedulers check little. One that is told of 10^9 training timesteps takes gigabytes, and one that is told a
list for a word fails somewhere in its arithmetic. A new setting is one more line here, and a new sampler one more class
in `FORMS`; tests/schedulers/test_forms.py compares both with diffusers. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from renoise.errors import SchedulerError
from renoise.schedulers.names import SUPPORTED

# A hundred times what models are trained with.
MOST_TIMESTEPS = 100_000

Count = Annotated[int, Meta(ge=0, le=MOST_TIMESTEPS)]
Timesteps = Annotated[int, Meta(ge=1, le=MOST_TIMESTEPS)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Level = Annotated[float, Meta(ge=0.0, le=1e6)]
Length = Annotated[int, Meta(ge=1, le=10**9)]
# The shift of a flow's noise levels; dynamic shifting gives its exponent, which may be negative.
Shift = Annotated[float, Meta(gt=0.0, le=1e6)]
Exponent = Annotated[float, Meta(ge=-100.0, le=100.0)]
# Samplers know three or four of these, which `renoise.schedulers.tables` looks at.
Prediction = Literal["epsilon", "sample", "v_prediction", "original_sample"]
Spacing = Literal["leading", "linspace", "trailing"]


class _Trained(msgspec.Struct, frozen=True):
    """What the samplers of diffusion models share; all settings of a configuration are optional."""

    num_train_timesteps: Timesteps = 1000
    beta_start: Share = 0.0001
    beta_end: Share = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"] = "linear"
    trained_betas: Annotated[list[Share], Meta(min_length=1, max_length=MOST_TIMESTEPS)] | None = None
    prediction_type: Prediction = "epsilon"
    timestep_spacing: Spacing = "leading"
    steps_offset: Count = 0
    rescale_betas_zero_snr: bool = False


class _Clipping(_Trained, frozen=True):
    clip_sample: bool = True
    clip_sample_range: Level = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Share = 0.995
    sample_max_value: Level = 1.0


class _DDIM(_Clipping, frozen=True):
    set_alpha_to_one: bool = True


class _DDPM(_Clipping, frozen=True):
    variance_type: Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"
    ] = "fixed_small"


class _Consistency(_DDIM, frozen=True):
    original_inference_steps: Timesteps = 50
    timestep_scaling: Level = 10.0


class _Ancestral(_Trained, frozen=True):
    pass


class _Euler(_Trained, frozen=True):
    interpolation_type: Literal["linear", "log_linear"] = "linear"
    timestep_type: Literal["discrete", "continuous"] = "discrete"
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"
    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False
    sigma_min: Level | None = None
    sigma_max: Level | None = None


class _EDM(msgspec.Struct, frozen=True):
    num_train_timesteps: Timesteps = 1000
    sigma_min: Level = 0.002
    sigma_max: Level = 80.0
    sigma_data: Annotated[float, Meta(gt=0.0, le=1e6)] = 0.5
    sigma_schedule: Literal["karras", "exponential"] = "karras"
    prediction_type: Prediction = "epsilon"
    rho: Annotated[float, Meta(gt=0.0, le=1e3)] = 7.0
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"


class _Flow(msgspec.Struct, frozen=True):
    num_train_timesteps: Timesteps = 1000
    shift: Shift = 1.0
    shift_terminal: Share | None = None
    use_dynamic_shifting: bool = False
    base_shift: Exponent | None = 0.5
    max_shift: Exponent | None = 1.15
    base_image_seq_len: Length | None = 256
    max_image_seq_len: Length | None = 4096
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    invert_sigmas: bool = False
    stochastic_sampling: bool = False
    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False


class _FlowLCM(msgspec.Struct, frozen=True):
    num_train_timesteps: Timesteps = 1000
    shift: Shift = 1.0
    use_dynamic_shifting: bool = False
    base_shift: Exponent | None = 0.5
    max_shift: Exponent | None = 1.15
    base_image_seq_len: Length | None = 256
    max_image_seq_len: Length | None = 4096
    invert_sigmas: bool = False
    shift_terminal: Share | None = None
    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    scale_factors: Annotated[list[Level], Meta(max_length=MOST_TIMESTEPS)] | None = None
    upscale_mode: Literal["nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"] = "bicubic"


class _FlowMap(msgspec.Struct, frozen=True):
    num_train_timesteps: Timesteps = 1000
    shift: Shift = 1.0


class _SCM(msgspec.Struct, frozen=True):
    num_train_timesteps: Timesteps = 1000
    prediction_type: Literal["trigflow"] = "trigflow"
    sigma_data: Annotated[float, Meta(gt=0.0, le=1e6)] = 0.5


# By the class in diffusers.
FORMS: Mapping[str, type[msgspec.Struct]] = MappingProxyType(
    {
        "DDIMScheduler": _DDIM,
        "DDPMScheduler": _DDPM,
        "EulerDiscreteScheduler": _Euler,
        "EulerAncestralDiscreteScheduler": _Ancestral,
        "LCMScheduler": _Consistency,
        "TCDScheduler": _Consistency,
        "EDMEulerScheduler": _EDM,
        "FlowMatchEulerDiscreteScheduler": _Flow,
        "FlowMatchLCMScheduler": _FlowLCM,
        "FlowMapEulerDiscreteScheduler": _FlowMap,
        "SCMScheduler": _SCM,
    }
)

# Configurations carry settings of other samplers along, of which no use is made; they are plain all the same.
Plain = bool | int | float | str | None
_Setting = Plain | Annotated[list[Plain], Meta(max_length=MOST_TIMESTEPS)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"name": "class"}):
    """What `renoise.schedulers.describe` writes."""

    name: _Name
    config: Annotated[dict[_Name, _Setting], Meta(max_length=200)]
    shift: Shift | None = None


def require_record(record: Any) -> None:
    """Check that a record of a scheduler has the types, names and bounds of its sampler's settings.

    Args:
        record: what `renoise.schedulers.describe` made, or a file says.

    Raises:
        SchedulerError: if it has not; the message names the setting.

    Examples:
        >>> require_record({"class": "DDIMScheduler", "config": {"beta_end": 0.012}})
    """
    try:
        form = msgspec.convert(record, _Record)
        if form.name not in SUPPORTED:
            raise SchedulerError(
                f"the inversion names the scheduler {form.name!r}, which is not supported",
                remedy="update renoise, or invert the image again",
            )
        msgspec.convert(form.config, FORMS[form.name])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter of lone surrogates
        raise SchedulerError(
            f"the settings of the inversion's scheduler make no sense: {error}", remedy="invert the image again"
        ) from error


def is_plain(value: Any) -> bool:
    """Tell whether a record may hold a value: a number, a text, a truth value, None, or a list of those."""
    return all(isinstance(one, Plain) for one in (value if isinstance(value, list) else [value]))
