"""Noise correction: how far the noise moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from renoise import ConfigError, Editor, InversionConfig, NoiseCorrection, Renoising
from renoise.backbones import Request
from renoise.correction import correct
from renoise.schedulers import steps_for

MakeEditor = Callable[..., Editor]
STOCHASTIC = ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "TCDScheduler", "DDIMScheduler"]


@pytest.fixture
def noises() -> tuple[torch.Tensor, torch.Tensor]:
    noise, exact = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return noise, exact


def test_the_amount_is_the_share_of_the_way(noises: tuple[torch.Tensor, torch.Tensor]) -> None:
    noise, exact = noises
    assert torch.equal(correct(noise, exact, NoiseCorrection()), exact)
    torch.testing.assert_close(correct(noise, exact, NoiseCorrection(0.25)), 0.75 * noise + 0.25 * exact)
    assert torch.equal(correct(noise, exact, NoiseCorrection(0.0)), noise)


def test_the_limit_bounds_each_pictures_move(noises: tuple[torch.Tensor, torch.Tensor]) -> None:
    noise, exact = noises
    exact = noise + (exact - noise) * torch.tensor([0.01, 1.0, 3.0]).view(3, 1, 1, 1)
    moved = correct(noise, exact, NoiseCorrection(limit=0.2)) - noise
    size = moved.square().flatten(1).mean(dim=1).sqrt()
    torch.testing.assert_close(moved[0], (exact - noise)[0])
    torch.testing.assert_close(size[1:], torch.tensor([0.2, 0.2]))
    assert torch.equal(correct(noise, noise, NoiseCorrection(limit=0.2)), noise)


def test_the_released_moves_have_a_fixed_length(noises: tuple[torch.Tensor, torch.Tensor]) -> None:
    noise, exact = noises
    moved = correct(noise, exact, NoiseCorrection.released()) - noise
    straight = (exact - noise).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), straight.clamp_max(18.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheduler", STOCHASTIC)
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_all_the_way_makes_every_stochastic_step_exact(
    make_editor: MakeEditor, scheduler: str, guidance_scale: float
) -> None:
    editor = make_editor(scheduler=scheduler)
    eta = 0.8 if scheduler == "DDIMScheduler" else None
    config = InversionConfig(
        num_steps=4, renoising=Renoising(1), noise_correction=NoiseCorrection(), eta=eta, guidance_scale=guidance_scale
    )
    z_0 = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    rows: list[int] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    inversion = editor.invert(latents=z_0, prompt=["a lion", "a cat"], config=config, keep_trajectory=True)
    hook.remove()
    assert inversion.network_passes == sum(rows) / 2
    assert inversion.trajectory is not None
    assert inversion.noise is not None
    steps = steps_for(editor.pipe.scheduler, 4, eta=eta)
    condition = editor.model.backbone.condition(Request(["a lion", "a cat"], None, guidance_scale, inversion.size))
    with torch.no_grad():
        for index, step in enumerate(steps):
            z, z_prev = inversion.trajectory[len(steps) - index], inversion.trajectory[len(steps) - index - 1]
            reached = step.apply(z, editor.model.backbone.predict(z, step, condition), inversion.noise[index])
            error = (reached - z_prev).flatten(1).norm(dim=1) / z_prev.flatten(1).norm(dim=1)
            assert not step.stochastic or float(error.max()) < 1e-5


def test_deterministic_steps_cost_no_extra_pass(make_editor: MakeEditor) -> None:
    z_0 = torch.randn(1, 4, 16, 16)
    config = InversionConfig(num_steps=4, renoising=Renoising(1), noise_correction=NoiseCorrection())
    assert make_editor(scheduler="EulerDiscreteScheduler").invert(latents=z_0, config=config).network_passes == 8
    # the last step of the ancestral sampler adds no noise
    ancestral = make_editor(scheduler="EulerAncestralDiscreteScheduler").invert(latents=z_0, config=config)
    assert ancestral.network_passes == 8 + 3


@pytest.mark.parametrize(
    "change",
    [{"amount": 1.1}, {"amount": -0.1}, {"limit": 0.0}, {"limit": -1.0}, {"moves": 0}, {"moves": 2, "limit": 1.0}],
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        NoiseCorrection(**change)
