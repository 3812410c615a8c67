"""DDIM inversion as diffusers does it, against plain reversing here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import diffusers
import pytest
import torch
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising, SchedulerError
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly
from renoise.schedulers import steps_for

MakeEditor = Callable[..., Editor]
PROMPTS = ["a lion", "a cat"]
PLAIN = InversionConfig(num_steps=4, renoising=Renoising(0))
TURBO = "EulerAncestralDiscreteScheduler"


def distance(a: Tensor, b: Tensor) -> float:
    """The largest relative distance of an image."""
    return float(((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).max())


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
@pytest.mark.parametrize(
    ("spacing", "num_steps"), [("leading", 4), ("leading", 7), ("trailing", 4), ("trailing", 7), ("trailing", 61)]
)
def test_diffusers_inversion_is_plain_reversing(
    make_editor: MakeEditor, z_0: Tensor, prediction_type: str, spacing: str, num_steps: int
) -> None:
    editor = make_editor(scheduler="DDIMScheduler", timestep_spacing=spacing, prediction_type=prediction_type)
    if prediction_type == "sample" and not all(s.invertible for s in steps_for(editor.pipe.scheduler, num_steps)):
        pytest.skip("the first step has no inverse")
    theirs = DDIMInverse(num_steps).invert(editor, z_0, PROMPTS)
    ours = ReNoise(replace(PLAIN, num_steps=num_steps)).invert(editor, z_0, PROMPTS)
    assert distance(theirs.latents, ours.latents) < 1e-4
    assert theirs.passes == ours.passes == num_steps
    torch.testing.assert_close(theirs.draw(None, None).pixels, ours.draw(None, None).pixels, atol=1e-4, rtol=0)


def test_the_network_is_told_the_noisier_timestep(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor()
    told: list[float] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: told.append(float(args[1])))
    DDIMInverse(4).invert(editor, z_0, PROMPTS)
    hook.remove()
    assert told == [1.0, 251.0, 501.0, 751.0]
    assert told == sorted(editor.timesteps(PLAIN))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_its_step_for_v_prediction_is_not_the_sampler_undone(prediction_type: str) -> None:
    ddim = diffusers.DDIMScheduler(clip_sample=False, prediction_type=prediction_type)
    inverse = diffusers.DDIMInverseScheduler.from_config(ddim.config)
    inverse.set_timesteps(10)
    z, m = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for step, t in zip(reversed(steps_for(ddim, 10)), inverse.timesteps, strict=True):
        reached = inverse.step(m, t, z).prev_sample
        undone, rotated = step.invert(z, m), step.phi * z - step.psi * m
        same, other = (undone, rotated) if prediction_type == "epsilon" else (rotated, undone)
        assert distance(reached, same) < 1e-5
        assert distance(reached, other) > 1e-4


def test_for_v_prediction_it_is_not_plain_reversing(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor(scheduler="DDIMScheduler", prediction_type="v_prediction")
    theirs = DDIMInverse(4).invert(editor, z_0, PROMPTS)
    ours = ReNoise(PLAIN).invert(editor, z_0, PROMPTS)
    assert distance(theirs.latents, ours.latents) > 0.1


@pytest.mark.parametrize(
    ("scheduler", "spacing", "expected"),
    [
        ("EulerDiscreteScheduler", "linspace", "leading"),
        ("EulerDiscreteScheduler", "trailing", "trailing"),
        (TURBO, "trailing", "trailing"),
        ("LCMScheduler", "leading", "leading"),
        ("PNDMScheduler", "leading", "leading"),
        ("DPMSolverMultistepScheduler", "linspace", "leading"),
    ],
)
def test_it_makes_ddim_of_any_diffusion_sampler(
    make_editor: MakeEditor, z_0: Tensor, scheduler: str, spacing: str, expected: str
) -> None:
    editor = make_editor()
    made = getattr(diffusers, scheduler).from_config(editor.pipe.scheduler.config, timestep_spacing=spacing)
    editor.pipe.scheduler = made
    ddim = diffusers.DDIMScheduler.from_config(made.config, timestep_spacing=expected, clip_sample=False)
    told: list[float] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: told.append(float(args[1])))
    noised = DDIMInverse(4).invert(editor, z_0, PROMPTS)
    noised.draw(None, None)
    hook.remove()
    expected_timesteps = [step.timestep for step in steps_for(ddim, 4)]
    assert told == [*reversed(expected_timesteps), *expected_timesteps]
    assert editor.pipe.scheduler is made


def test_it_draws_with_clipping_off(make_editor: MakeEditor, z_0: Tensor) -> None:
    clipping = make_editor(scheduler="DDIMScheduler", clip_sample=True)
    plain = make_editor(scheduler="DDIMScheduler")
    a, b = (DDIMInverse(4).invert(e, z_0, PROMPTS) for e in (clipping, plain))
    assert torch.equal(a.latents, b.latents)
    assert torch.equal(a.draw(None, None).pixels, b.draw(None, None).pixels)


def test_a_flow_is_no_diffusion(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor()
    editor.pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    for method in (DDIMInverse(4), EditFriendly(4), EditFriendly(4, scheduler=None)):
        with pytest.raises(SchedulerError, match="two kinds of models"):
            method.invert(editor, z_0, PROMPTS)
    with pytest.raises(SchedulerError, match="two kinds of models"):
        EditFriendly(4, scheduler="FlowMatchEulerDiscreteScheduler").invert(make_editor(), z_0, PROMPTS)


def test_noise_levels_that_ddim_does_not_know(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor(scheduler="DDPMScheduler", beta_schedule="sigmoid")
    with pytest.raises(SchedulerError, match="use another sampler"):
        DDIMInverse(4).invert(editor, z_0, PROMPTS)
    assert EditFriendly(4, scheduler=None).invert(editor, z_0, PROMPTS).passes == 3


def test_schedules_that_the_model_does_not_have(make_editor: MakeEditor, z_0: Tensor) -> None:
    with pytest.raises(ConfigError, match="1000 timesteps"):
        DDIMInverse(1001).invert(make_editor(), z_0, PROMPTS)
    # with an offset of 1, leading spacing asks for timestep 1000
    with pytest.raises(SchedulerError, match="timestep 1000"):
        DDIMInverse(1000).invert(make_editor(), z_0, PROMPTS)
    # diffusers divides by the noise of the clean latent, which is none
    with pytest.raises(NumericalError, match="NaN or infinity"):
        DDIMInverse(4).invert(
            make_editor(scheduler="DDIMScheduler", prediction_type="sample", set_alpha_to_one=True), z_0, PROMPTS
        )
