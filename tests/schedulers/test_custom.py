"""Schedules that are given as lists are those of diffusers' `set_timesteps`, and walk as its `step` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch

from parity import start
from renoise import ConfigError, Editor, Inversion, InversionConfig, Renoising, SchedulerError
from renoise.schedulers import steps_for
from renoise.schedulers.custom import Custom
from tiny_pipelines import BUILDERS

TIMESTEPS = [999, 749, 500, 249]
SIGMAS = [14.61, 3.1, 0.4]
FLOW = [1.0, 0.7, 0.2]


def scheduler(name: str, **config: Any) -> Any:
    clips = {} if name.startswith(("Euler", "Flow")) else {"clip_sample": False}
    betas = (
        {} if name.startswith("Flow") else {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    )
    return getattr(diffusers, name)(**{**betas, **clips, **config})


CASES = [
    ("DDPMScheduler", {}, {"timesteps": TIMESTEPS}),
    ("DDPMScheduler", {}, {"timesteps": [999.0, 500.0]}),
    ("LCMScheduler", {}, {"timesteps": [999, 759, 499, 259]}),
    ("TCDScheduler", {}, {"timesteps": [999, 759, 499, 259]}),
    ("EulerDiscreteScheduler", {}, {"timesteps": TIMESTEPS}),
    ("EulerDiscreteScheduler", {}, {"sigmas": [*SIGMAS, 0.0]}),
    ("EulerDiscreteScheduler", {"prediction_type": "v_prediction"}, {"sigmas": [*SIGMAS, 0.0]}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, {"sigmas": FLOW}),
    ("FlowMatchEulerDiscreteScheduler", {}, {"timesteps": [1000.0, 600.0, 100.0]}),
]


@pytest.mark.parametrize(("name", "config", "given"), CASES)
def test_the_steps_are_those_of_the_scheduler(name: str, config: dict[str, Any], given: dict[str, Any]) -> None:
    theirs = scheduler(name, **config)
    count = InversionConfig(**given).num_steps
    steps = steps_for(theirs, count, custom=Custom(**given))
    whole = {key: [int(v) for v in values] if name == "DDPMScheduler" else values for key, values in given.items()}
    theirs.set_timesteps(**whole)
    assert [step.timestep for step in steps] == pytest.approx([float(t) for t in theirs.timesteps])
    draw = torch.Generator().manual_seed(0)
    z = expected = torch.randn(1, 4, 8, 8, generator=draw)
    for index, step in enumerate(steps):
        prediction = torch.randn(z.shape, generator=draw)
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(index))
        stepped = theirs.step(
            prediction, theirs.timesteps[index], expected, generator=torch.Generator().manual_seed(index)
        )
        z, expected = step.apply(z, prediction, noise if step.stochastic else None), stepped.prev_sample
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)


def test_noise_levels_that_end_above_0_are_sampled_to_the_end() -> None:
    euler = scheduler("EulerDiscreteScheduler")
    steps = steps_for(euler, 3, custom=Custom(sigmas=SIGMAS))
    assert steps == steps_for(euler, 3, custom=Custom(sigmas=[*SIGMAS, 0.0]))
    assert steps[-1].arrival == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "config", "given", "error", "message"),
    [
        ("DDIMScheduler", {}, {"timesteps": TIMESTEPS}, SchedulerError, "DDIMScheduler takes no list of timesteps"),
        ("DDIMScheduler", {}, {"sigmas": SIGMAS}, SchedulerError, "takes no list of sigmas"),
        ("EulerAncestralDiscreteScheduler", {}, {"timesteps": TIMESTEPS}, SchedulerError, "takes no list of timesteps"),
        ("DDPMScheduler", {}, {"sigmas": SIGMAS}, SchedulerError, "no list of sigmas; it takes timesteps"),
        ("LCMScheduler", {}, {"sigmas": SIGMAS}, SchedulerError, "no list of sigmas; it takes timesteps"),
        ("DDPMScheduler", {}, {"timesteps": [1000, 3]}, ConfigError, "go from 0 to 999, not 1000"),
        ("EulerDiscreteScheduler", {}, {"timesteps": [1000, 3]}, ConfigError, "go from 0 to 999, not 1000"),
        ("DDPMScheduler", {}, {"timesteps": [998.5, 3]}, ConfigError, "must be whole numbers"),
        ("EulerDiscreteScheduler", {}, {"sigmas": [30.0, 1.0]}, ConfigError, "at most 14.6"),
        ("FlowMatchEulerDiscreteScheduler", {}, {"sigmas": [14.6, 1.0]}, ConfigError, "at most 1 with"),
        ("FlowMatchEulerDiscreteScheduler", {}, {"timesteps": [1001, 1]}, ConfigError, "above 0 to 1000"),
        ("FlowMatchEulerDiscreteScheduler", {}, {"timesteps": [999, 0]}, ConfigError, "above 0 to 1000"),
        (
            "EulerDiscreteScheduler",
            {"use_karras_sigmas": True},
            {"timesteps": TIMESTEPS},
            SchedulerError,
            "use_karras_sigmas.*leave the list out",
        ),
    ],
)
def test_others_are_refused_with_the_reason(
    name: str, config: dict[str, Any], given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        steps_for(scheduler(name, **config), InversionConfig(**given).num_steps, custom=Custom(**given))


Make = Callable[..., Editor]


@pytest.mark.parametrize(
    ("name", "sampler", "given"),
    [
        ("sd15-ddim", "EulerDiscreteScheduler", {"sigmas": SIGMAS}),
        ("sd15-ddim", "DDPMScheduler", {"timesteps": TIMESTEPS}),
        ("lcm", "LCMScheduler", {"timesteps": [999, 499]}),
        ("sd3", "FlowMatchEulerDiscreteScheduler", {"sigmas": FLOW}),
        ("flux-dev", "FlowMatchEulerDiscreteScheduler", {"sigmas": FLOW}),
    ],
)
def test_an_inversion_walks_them_and_is_drawn_with_them(
    name: str, sampler: str, given: dict[str, Any], tmp_path: Any
) -> None:
    editor = Editor(BUILDERS[name]()).with_scheduler(sampler)
    config = InversionConfig(renoising=Renoising(0), **given)
    z_0 = start(editor, 1)
    inversion = editor.invert(latents=z_0, prompt="a", config=config, keep_trajectory=True)
    assert inversion.num_steps == len(editor.timesteps(config)) == config.num_steps
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert loaded.config == config
    same = editor.reconstruct(inversion, "latent")
    assert torch.equal(editor.reconstruct(loaded, "latent"), same)
    other = editor.edit(inversion, "a", guidance_scale=1.0, num_steps=config.num_steps + 1, output_type="latent")
    assert other.isfinite().all()
    assert not torch.allclose(other, same)
