"""The scheduler configurations of the real models, as their repositories hold them."""

from __future__ import annotations

from typing import Any

import diffusers

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
# Entries that the newer repositories have whichever scheduler they name.
_XL = {
    **_BETAS,
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
_SD1 = {
    **_BETAS,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
_SD2 = {**_SD1, "prediction_type": "v_prediction"}
_LCM = {
    **_BETAS,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "original_inference_steps": 50,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "leading",
    "trained_betas": None,
}
# Kolors was trained on more and noisier levels.
_KOLORS = {**_XL, "beta_end": 0.014, "num_train_timesteps": 1100}
_PIXART = {
    "algorithm_type": "dpmsolver++",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "dynamic_thresholding_ratio": 0.995,
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
# What `from_pretrained` makes of it.
_PIXART_DDIM = {**_PIXART, "clip_sample": False}
_PIXART_LCM = {**_LCM, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
_HUNYUAN = {
    "beta_start": 0.00085,
    "beta_end": 0.03,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "steps_offset": 1,
    "thresholding": False,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "variance_type": "fixed_small",
}
_SD3 = {"num_train_timesteps": 1000, "shift": 3.0}
_FLUX = {
    "num_train_timesteps": 1000,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "base_shift": 0.5,
    "max_shift": 1.15,
}

# A class of diffusers and its configuration, by the names of the pipelines.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd15": ("PNDMScheduler", _SD1),
    "sd15-ddim": ("DDIMScheduler", _SD1),
    "sd21-v": ("DDIMScheduler", _SD2),
    "sd21-zsnr": ("DDIMScheduler", {**_SD2, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    "sd-turbo": ("EulerDiscreteScheduler", {**_XL, "timestep_spacing": "trailing"}),
    "lcm": ("LCMScheduler", _LCM),
    "sdxl": ("EulerDiscreteScheduler", _XL),
    "sdxl-turbo": ("EulerAncestralDiscreteScheduler", {**_XL, "timestep_spacing": "trailing"}),
    # The LCM for SDXL is a UNet alone: its users make the scheduler from the base model's.
    "sdxl-lcm": ("LCMScheduler", {**_XL, "_class_name": "EulerDiscreteScheduler"}),
    "sd3": ("FlowMatchEulerDiscreteScheduler", _SD3),
    "sd3-no-t5": ("FlowMatchEulerDiscreteScheduler", _SD3),
    "sd35": ("FlowMatchEulerDiscreteScheduler", _SD3),
    "sd35-dynamic": ("FlowMatchEulerDiscreteScheduler", {**_SD3, **_FLUX, "use_dynamic_shifting": True}),
    "flux-dev": ("FlowMatchEulerDiscreteScheduler", {**_FLUX, "shift": 3.0, "use_dynamic_shifting": True}),
    "flux-schnell": ("FlowMatchEulerDiscreteScheduler", {**_FLUX, "shift": 1.0, "use_dynamic_shifting": False}),
    "kolors": ("EulerDiscreteScheduler", _KOLORS),
    "pixart-alpha": ("DPMSolverMultistepScheduler", _PIXART),
    "pixart-alpha-ddim": ("DDIMScheduler", _PIXART_DDIM),
    "pixart-sigma-ddim": ("DDIMScheduler", _PIXART_DDIM),
    "pixart-lcm": ("LCMScheduler", _PIXART_LCM),
    "hunyuan-dit": ("DDPMScheduler", {**_HUNYUAN, "beta_end": 0.018}),
    "hunyuan-dit-1.1": ("DDPMScheduler", _HUNYUAN),
}

_Z_IMAGE = {"num_train_timesteps": 1000, "shift": 6.0, "use_dynamic_shifting": False}
_FLUX2 = {**_FLUX, "shift": 3.0, "use_dynamic_shifting": True}
SAMPLERS |= {
    "z-image": ("FlowMatchEulerDiscreteScheduler", _Z_IMAGE),
    "z-image-turbo": ("FlowMatchEulerDiscreteScheduler", {**_Z_IMAGE, "shift": 3.0}),
    "flux2-dev": ("FlowMatchEulerDiscreteScheduler", _FLUX2),
    "flux2-klein": ("FlowMatchEulerDiscreteScheduler", _FLUX2),
    "flux2-klein-base": ("FlowMatchEulerDiscreteScheduler", _FLUX2),
}
# The shift of schedules that are no longer than those of other sizes, with its entries.
_STATIC = {"num_train_timesteps": 1000, "use_dynamic_shifting": False}
SAMPLERS |= {
    "chroma": ("FlowMatchEulerDiscreteScheduler", {**_FLUX, "shift": 1.0, "use_dynamic_shifting": False}),
    "lumina2": ("FlowMatchEulerDiscreteScheduler", {**_STATIC, "shift": 6.0}),
    "cogview4": (
        "FlowMatchEulerDiscreteScheduler",
        {
            **_FLUX,
            "base_shift": 0.25,
            "max_shift": 0.75,
            "shift": 1.0,
            "use_dynamic_shifting": True,
            "time_shift_type": "linear",
        },
    ),
    "aura-flow": ("FlowMatchEulerDiscreteScheduler", {**_STATIC, "shift": 1.73}),
    # What UniPC, with which the full model is published, is exchanged for.
    "hidream": ("FlowMatchEulerDiscreteScheduler", {**_STATIC, "shift": 3.0}),
    "hidream-dev": ("FlowMatchLCMScheduler", {**_STATIC, "shift": 6.0}),
}

_QWEN = {
    "num_train_timesteps": 1000,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "base_shift": 0.5,
    "max_shift": 0.9,
    "shift": 1.0,
    "shift_terminal": 0.02,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}
_KREA2 = {**_FLUX, "max_image_seq_len": 6400, "shift": 1.0, "use_dynamic_shifting": True}
SAMPLERS |= {
    "krea2": ("FlowMatchEulerDiscreteScheduler", _KREA2),
    "krea2-turbo": ("FlowMatchEulerDiscreteScheduler", _KREA2),
    "qwen-image": ("FlowMatchEulerDiscreteScheduler", _QWEN),
    "qwen-image-2.1": ("FlowMatchEulerDiscreteScheduler", _QWEN),
}
# Those that combine several steps, and cannot be inverted.
SEVERAL_STEPS = ("sd15", "pixart-alpha")

# Sana itself comes with a sampler of several steps on this shift, which is exchanged for this one.
SAMPLERS |= {
    "sana": ("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": 3.0}),
    "sana-sprint": ("SCMScheduler", {"num_train_timesteps": 1000, "prediction_type": "trigflow", "sigma_data": 0.5}),
}


def sampler(name: str) -> Any:
    """Make the scheduler of the pipeline with that name; entries that its class lacks stay in its configuration."""
    cls, config = SAMPLERS[name]
    return getattr(diffusers, cls).from_config(dict(config))
