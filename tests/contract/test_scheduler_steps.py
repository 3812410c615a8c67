"""What diffusers promises us: our table of steps equals `scheduler.step`, wherever it can be asked."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch

from renoise.schedulers import steps_for
from renoise.steps import Step

SPACINGS = ("leading", "trailing", "linspace")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
LENGTHS = range(1, 51)
TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAMPLERS: list[tuple[str, dict[str, Any], float | None]] = [
    ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}, None),
    ("DDIMScheduler", {"clip_sample": False}, 0.7),
    ("DDIMScheduler", {"clip_sample": False}, 1.0),
    ("DDPMScheduler", {"clip_sample": False}, None),
    ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_large"}, None),
    ("EulerDiscreteScheduler", {}, None),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, None),
    ("EulerAncestralDiscreteScheduler", {"steps_offset": 1}, None),
    ("LCMScheduler", {}, None),
    ("TCDScheduler", {}, None),
    ("TCDScheduler", {}, 0.0),
    ("TCDScheduler", {}, 0.5),
    ("TCDScheduler", {}, 1.0),
]


def theirs(scheduler: Any, index: int, prediction: torch.Tensor, z: torch.Tensor, eta: float | None) -> torch.Tensor:
    """`scheduler.step` at the `index`-th timestep, with noise from a generator with seed 0."""
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": torch.Generator().manual_seed(0)} if "generator" in known else {}
    if "eta" in known and eta is not None:
        options["eta"] = eta
    if hasattr(scheduler, "set_begin_index"):
        scheduler._step_index = None
        scheduler.set_begin_index(index)
        scheduler.scale_model_input(z, scheduler.timesteps[index]) if hasattr(scheduler, "scale_model_input") else None
    step: torch.Tensor = scheduler.step(prediction, scheduler.timesteps[index], z, **options).prev_sample
    return step


def noise_like(z: torch.Tensor) -> torch.Tensor:
    return torch.randn(z.shape, generator=torch.Generator().manual_seed(0))


def assert_same_steps(scheduler: Any, steps: tuple[Step, ...], eta: float | None, ends: int = 0) -> None:
    """Compare with `scheduler.step`, of whose timesteps the last `ends` are where steps end alone."""
    generator = torch.Generator().manual_seed(1)
    assert len(steps) == len(scheduler.timesteps) - ends
    for index, step in enumerate(steps):
        # sigma-scaled samplers carry latents of that size
        size = 1.0 / step.input_scale
        z, prediction = (
            size * torch.randn(1, 2, 3, 3, generator=generator),
            torch.randn(1, 2, 3, 3, generator=generator),
        )
        expected = theirs(scheduler, index, prediction, z, eta)
        ours = step.apply(z, prediction, noise_like(z))
        assert step.timestep == float(scheduler.timesteps[index])
        # float32 tables on their side, where differences of nearly equal coefficients lose digits
        scale = abs(step.phi) * size + abs(step.psi) + step.rho + 1e-3
        assert float((ours - expected).abs().max()) < 4e-5 * scale, (index, step)


# LCM and TCD have a spacing of their own; Euler ancestral does not implement sample prediction.
CASES = [
    pytest.param(
        *(name, config, eta, prediction, spacing),
        id=f"{name}-{i}-{prediction}-{spacing}",
        marks=() if spacing == SPACINGS[0] else pytest.mark.slow,
    )
    for i, (name, config, eta) in enumerate(SAMPLERS)
    for prediction in PREDICTIONS
    for spacing in SPACINGS
    if not (name in ("LCMScheduler", "TCDScheduler") and spacing != "leading")
    and not (name == "EulerAncestralDiscreteScheduler" and prediction == "sample")
]


@pytest.mark.parametrize(("name", "config", "eta", "prediction", "spacing"), CASES)
def test_our_steps_are_theirs(
    name: str, config: dict[str, Any], eta: float | None, prediction: str, spacing: str
) -> None:
    cls = getattr(diffusers, name)
    known = inspect.signature(cls.__init__).parameters
    settings = {**TABLE, **config, "prediction_type": prediction, "timestep_spacing": spacing}
    scheduler = cls(**{k: v for k, v in settings.items() if k in known})
    for num_steps in LENGTHS:
        scheduler.set_timesteps(num_steps)
        assert_same_steps(scheduler, steps_for(scheduler, num_steps, eta=eta), eta)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(stochastic: bool, shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift, stochastic_sampling=stochastic)
    for num_steps in LENGTHS:
        scheduler.set_timesteps(num_steps)
        assert_same_steps(scheduler, steps_for(scheduler, num_steps), None)


def test_flow_matching_with_dynamic_shifting() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(7, mu=0.8)
    assert_same_steps(scheduler, steps_for(scheduler, 7, mu=0.8), None)


def test_a_shift_set_by_hand_is_kept() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_shift(5.0)
    scheduler.set_timesteps(6)
    assert_same_steps(scheduler, steps_for(scheduler, 6), None)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler"])
def test_zero_terminal_snr_with_v_prediction(name: str) -> None:
    config = {
        **TABLE,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    }
    if name != "EulerDiscreteScheduler":
        config["clip_sample"] = False
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(20)
    assert_same_steps(scheduler, steps_for(scheduler, 20), None)


FEW_LENGTHS = (1, 2, 3, 7, 20, 50)
BETAS = [0.001 * (i + 1) for i in range(100)]
# Settings that change a schedule or a step.
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "linspace"}),
    ("DDIMScheduler", {"clip_sample": False, "num_train_timesteps": 100, "trained_betas": BETAS}),
    ("DDIMScheduler", {"clip_sample": False, "beta_schedule": "squaredcos_cap_v2"}),
    ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small_log"}),
    ("DDPMScheduler", {"clip_sample": False, "beta_schedule": "sigmoid"}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "interpolation_type": "log_linear"}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear", "timestep_spacing": "trailing"}),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min", "timestep_spacing": "leading", "steps_offset": 1}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous"}),
    ("EulerDiscreteScheduler", {"prediction_type": "original_sample"}),
    ("EulerDiscreteScheduler", {"rescale_betas_zero_snr": True}),
    ("LCMScheduler", {"original_inference_steps": 100, "timestep_scaling": 5.0, "set_alpha_to_one": False}),
    ("LCMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("TCDScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True, "shift": 3.0}),
    ("FlowMatchEulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 0.02, "shift": 3.0}),
    ("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 500}),
    ("EDMEulerScheduler", {}),
    (
        "EDMEulerScheduler",
        {"prediction_type": "v_prediction", "sigma_data": 1.0, "sigma_max": 120.0, "sigma_min": 0.01},
    ),
    ("EDMEulerScheduler", {"sigma_schedule": "exponential", "rho": 3.0}),
    ("EDMEulerScheduler", {"final_sigmas_type": "sigma_min", "prediction_type": "v_prediction"}),
]


@pytest.mark.parametrize(("name", "config"), SETTINGS)
def test_every_setting_has_its_effect(name: str, config: dict[str, Any]) -> None:
    cls = getattr(diffusers, name)
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls(**{k: v for k, v in {**TABLE, **config}.items() if k in known})
    for num_steps in FEW_LENGTHS:
        # One step cannot both start and end where it is told to.
        if num_steps > 1 or "shift_terminal" not in config:
            scheduler.set_timesteps(num_steps)
            assert_same_steps(scheduler, steps_for(scheduler, num_steps), None)


def test_euler_ancestral_from_zero_terminal_snr() -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler(
        **TABLE, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    scheduler.set_timesteps(5)
    steps = steps_for(scheduler, 5)
    z, m = 4096.0 * torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    # They subtract numbers as large as the first noise level, 4096.
    torch.testing.assert_close(
        steps[0].apply(z, m, noise_like(z)), theirs(scheduler, 0, m, z, None), rtol=1e-5, atol=2e-3
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_edm(prediction: Any, schedule: Any) -> None:
    scheduler = diffusers.EDMEulerScheduler(prediction_type=prediction, sigma_schedule=schedule)
    for num_steps in LENGTHS:
        scheduler.set_timesteps(num_steps)
        steps = steps_for(scheduler, num_steps)
        assert_same_steps(scheduler, steps, None)
        z = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(2))
        for index, step in enumerate(steps):
            scheduler._step_index = index
            torch.testing.assert_close(step.input_scale * z, scheduler.scale_model_input(z, scheduler.timesteps[index]))
            x0 = scheduler.precondition_outputs(z, 0.5 * z, scheduler.sigmas[index])
            torch.testing.assert_close(step.x0_z * z + step.x0_m * 0.5 * z, x0)
            # x0 and eps are the parts of the latent at every level.
            whole = step.add_noise(x0, step.implied_noise(z, 0.5 * z))
            torch.testing.assert_close(whole, z, rtol=1e-4, atol=1e-4)


LCM: list[dict[str, Any]] = [
    {},
    {"shift": 3.0},
    {"shift_terminal": 0.02, "shift": 3.0},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"num_train_timesteps": 500},
]


@pytest.mark.parametrize("config", LCM)
def test_flow_matching_by_consistency(config: dict[str, Any]) -> None:
    scheduler = diffusers.FlowMatchLCMScheduler(**config)
    for num_steps in LENGTHS if not config else FEW_LENGTHS:
        if num_steps > 1 or "shift_terminal" not in config:
            scheduler.set_timesteps(num_steps)
            assert_same_steps(scheduler, steps_for(scheduler, num_steps), None)


def test_flow_matching_by_consistency_with_dynamic_shifting() -> None:
    scheduler = diffusers.FlowMatchLCMScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(7, mu=0.8, sigmas=[1 - i / 7 for i in range(7)])
    steps = steps_for(scheduler, 7, mu=0.8, sigmas=[1 - i / 7 for i in range(7)])
    assert_same_steps(scheduler, steps, None)


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_flow_maps(shift: float) -> None:
    scheduler = diffusers.FlowMapEulerDiscreteScheduler(shift=shift)
    for num_steps in LENGTHS:
        scheduler.set_timesteps(num_steps)
        steps = steps_for(scheduler, num_steps)
        assert_same_steps(scheduler, steps, None)
        ends = [step.leads_to for step in steps]
        assert ends == pytest.approx([*scheduler.timesteps.tolist()[1:], 0.0])


@pytest.mark.parametrize("deviation", [0.5, 1.0])
def test_trigflow(deviation: float) -> None:
    scheduler = diffusers.SCMScheduler(sigma_data=deviation)
    for num_steps in LENGTHS:
        # Two steps have a timestep of their own in the middle.
        scheduler.set_timesteps(num_steps, **({} if num_steps == 2 else {"intermediate_timesteps": None}))
        assert_same_steps(scheduler, steps_for(scheduler, num_steps), None, ends=1)


def test_the_parts_of_a_latent_on_trigflows_arc() -> None:
    z, m = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    for step in steps_for(diffusers.SCMScheduler(), 5)[1:]:
        whole = step.add_noise(step.x0_z * z + step.x0_m * m, step.implied_noise(z, m))
        torch.testing.assert_close(whole, z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
def test_beta_sigmas(name: str) -> None:  # for which diffusers wants scipy
    scheduler = getattr(diffusers, name)(use_beta_sigmas=True)
    for num_steps in FEW_LENGTHS:
        scheduler.set_timesteps(num_steps)
        assert_same_steps(scheduler, steps_for(scheduler, num_steps), None)


@pytest.mark.parametrize("convert", ["use_karras_sigmas", "use_exponential_sigmas"])
@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
def test_converted_sigmas_under_a_shift_by_size(name: str, convert: str) -> None:
    scheduler = getattr(diffusers, name)(use_dynamic_shifting=True, **{convert: True})
    for num_steps in FEW_LENGTHS:
        sigmas = [1.0 - i / num_steps for i in range(num_steps)]
        scheduler.set_timesteps(num_steps, mu=0.8, sigmas=sigmas)
        assert_same_steps(scheduler, steps_for(scheduler, num_steps, mu=0.8, sigmas=sigmas), None)
