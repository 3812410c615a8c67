"""Edit-friendly inversion: every step with noise is exact, and its noises are independent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from renoise import ConfigError, Editor, SchedulerError
from renoise.evaluation.outside import EditFriendly
from renoise.evaluation.outside.edit_friendly import Solved, solve
from renoise.evaluation.outside.shared import network
from renoise.network import Network
from renoise.noise import draw_noise, generators_for
from renoise.schedulers import steps_for
from renoise.steps import Step
from renoise.walks import denoise_steps

MakeEditor = Callable[..., Editor]
PROMPTS = ["a lion", "a cat"]
TARGETS = ["a tiger", "a dog"]
TURBO = "EulerAncestralDiscreteScheduler"


def distance(a: Tensor, b: Tensor) -> float:
    """The largest relative distance of an image."""
    return float(((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).max())


def solved_by(editor: Editor, method: EditFriendly, z_0: Tensor) -> tuple[tuple[Step, ...], Tensor, Solved]:
    """The steps, the latents that were drawn for each of them, and what is solved."""
    steps = method.steps(editor)
    drawn = draw_noise(len(steps), z_0.shape, generators_for(None, method.seed, len(z_0)), z_0.device)
    with network(editor, PROMPTS, method.guidance_scale, z_0) as net:
        solved = solve(steps, net, z_0, drawn)
    return steps, torch.stack([s.add_noise(z_0, e) for s, e in zip(steps, drawn, strict=True)]), solved


@pytest.mark.parametrize(
    "method",
    [
        EditFriendly(6),
        EditFriendly(6, eta=0.3),
        EditFriendly(6, eta=0.01),
        EditFriendly(6, strength=0.5),
        EditFriendly(6, guidance_scale=3.5),
        EditFriendly(6, seed=5),
        *(EditFriendly(6, scheduler=name) for name in ("DDPMScheduler", TURBO, "LCMScheduler", "TCDScheduler")),
    ],
    ids=str,
)
def test_every_step_with_noise_is_exact(make_editor: MakeEditor, z_0: Tensor, method: EditFriendly) -> None:
    editor = make_editor()
    steps, drawn, solved = solved_by(editor, method, z_0)
    assert len(steps) == int(6 * method.strength)
    assert torch.equal(solved.latents, drawn[0])
    assert torch.equal(solved.latents, method.invert(editor, z_0, PROMPTS).latents)
    with network(editor, PROMPTS, method.guidance_scale, z_0) as net:
        for walked in denoise_steps(steps, net, solved.latents, solved.noise):
            wanted = z_0 if walked.index + 1 == len(steps) else drawn[walked.index + 1]
            if walked.step.stochastic:
                assert distance(walked.latents, wanted) < 1e-5
            else:
                assert walked.index + 1 == len(steps)
                assert not solved.noise[walked.index].any()


def test_with_noise_in_the_last_step_the_image_comes_back(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor(scheduler="DDIMScheduler", set_alpha_to_one=False)
    for method in (EditFriendly(4), EditFriendly(20, eta=0.5), EditFriendly(4, guidance_scale=3.5)):
        steps, _, solved = solved_by(editor, method, z_0)
        assert steps[-1].stochastic
        with network(editor, PROMPTS, method.guidance_scale, z_0) as net:
            *_, last = denoise_steps(steps, net, solved.latents, solved.noise)
        assert distance(last.latents, z_0) < 1e-4
        pixels = method.invert(editor, z_0, PROMPTS).draw(None, None).pixels
        torch.testing.assert_close(pixels, editor.decode(z_0, "pt"), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("model", "scheduler", "changes"),
    [("tiny-sd", "DDIMScheduler", {"set_alpha_to_one": True}), ("tiny-sdxl", None, {})],
)
def test_without_it_the_image_is_what_the_network_sees_in_the_last_latent(
    make_editor: MakeEditor, z_0: Tensor, model: str, scheduler: str | None, changes: dict[str, Any]
) -> None:
    editor = make_editor(model, scheduler, **changes)
    method = EditFriendly(4, scheduler=None)
    z_0 = z_0 if model == "tiny-sd" else editor.model.prepare(None, z_0).latents
    steps, drawn, _ = solved_by(editor, method, z_0)
    assert not steps[-1].stochastic
    with network(editor, PROMPTS, 1.0, z_0) as net:
        x0 = steps[-1].apply(drawn[-1], net(drawn[-1], steps[-1]))
    pixels = method.invert(editor, z_0, PROMPTS).draw(None, None).pixels
    torch.testing.assert_close(pixels, editor.decode(x0, "pt"), atol=1e-3, rtol=0)


def test_a_deterministic_step_between_others_goes_where_it_goes() -> None:
    steps = [
        Step(1.0, -0.1, 0.5, 3.0, sigma=3.0),
        Step(1.0, -0.1, 0.0, 2.0, sigma=2.0),
        Step(1.0, -0.1, 0.5, 1.0, sigma=1.0),
    ]
    z_0, *drawn = torch.randn(4, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    network = Network(lambda z, step: z.sin())
    solved = solve(steps, network, z_0, torch.stack(drawn))
    assert network.passes == 3
    *_, last = denoise_steps(steps, network, solved.latents, solved.noise)
    assert distance(last.latents, z_0) < 1e-5


def test_noises_belong_to_the_image_and_not_to_its_batch(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor()
    _, _, both = solved_by(editor, EditFriendly(4), z_0)
    drawn = draw_noise(4, (1, *z_0.shape[1:]), generators_for(None, 0, 1), z_0.device)
    for i in range(2):
        with network(editor, PROMPTS[i : i + 1], 1.0, z_0[i : i + 1]) as net:
            alone = solve(EditFriendly(4).steps(editor), net, z_0[i : i + 1], drawn)
        torch.testing.assert_close(alone.latents[0], both.latents[i])
        torch.testing.assert_close(alone.noise[:, 0], both.noise[:, i], atol=1e-4, rtol=1e-4)


def test_latents_of_different_timesteps_are_drawn_independently(make_editor: MakeEditor, z_0: Tensor) -> None:
    steps, drawn, _ = solved_by(make_editor(), EditFriendly(4), z_0)
    noises = torch.stack([(z - s.alpha * z_0) / s.sigma for s, z in zip(steps, drawn, strict=True)])
    correlation = torch.corrcoef(noises[:, 0].flatten(1))
    torch.testing.assert_close(correlation, torch.eye(4), atol=0.15, rtol=0)
    _, other, _ = solved_by(make_editor(), EditFriendly(4, seed=1), z_0)
    assert not torch.equal(other, drawn)


@pytest.mark.parametrize(
    ("own", "changes", "expected"),
    [
        (None, {}, "DDIMScheduler"),
        ("EulerDiscreteScheduler", {}, "DDIMScheduler"),
        ("PNDMScheduler", {}, "DDIMScheduler"),
        (TURBO, {}, TURBO),
        ("LCMScheduler", {}, "LCMScheduler"),
        ("DDPMScheduler", {}, "DDPMScheduler"),
        ("DDPMScheduler", {"timestep_spacing": "trailing"}, "DDPMScheduler"),
    ],
)
def test_without_a_sampler_it_takes_the_models_own_if_that_adds_noise(
    make_editor: MakeEditor, own: str | None, changes: dict[str, Any], expected: str
) -> None:
    editor = make_editor(scheduler=own, **changes)
    eta = 1.0 if expected == "DDIMScheduler" else None
    made = getattr(diffusers, expected).from_config(editor.pipe.scheduler.config, clip_sample=False)
    assert EditFriendly(4, scheduler=None).steps(editor) == steps_for(made, 4, eta=eta)


def test_guidance_of_inversion_and_reconstruction_agree(make_editor: MakeEditor, z_0: Tensor) -> None:
    editor = make_editor()
    noised = EditFriendly(4, guidance_scale=3.5, edit_guidance_scale=15.0).invert(editor, z_0, PROMPTS)
    truth = editor.decode(z_0, "pt")
    torch.testing.assert_close(noised.draw(None, None).pixels, truth, atol=1e-4, rtol=0)
    assert torch.equal(noised.draw(TARGETS, None).pixels, noised.draw(TARGETS, 15.0).pixels)
    assert not torch.allclose(noised.draw(TARGETS, 15.0).pixels, noised.draw(TARGETS, 3.5).pixels, atol=1e-3)


@pytest.mark.parametrize("eta", [0, 0.0, -0.1, 1.1, None, "1", float("nan")])
def test_impossible_etas(eta: Any) -> None:
    with pytest.raises(ConfigError, match="eta must be"):
        EditFriendly(eta=eta)


def test_without_eta_the_remedy_is_said() -> None:
    with pytest.raises(ConfigError, match="use eta=1"):
        EditFriendly(eta=0)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (EditFriendly(4, scheduler="EulerDiscreteScheduler"), "adds noise.*DDIMScheduler with eta=1"),
        # the last step of the ancestral sampler, alone
        (EditFriendly(4, scheduler=TURBO, strength=0.25), "none of the 1 steps"),
        (EditFriendly(4, eta=1e-9), "adds noise"),
        (EditFriendly(4, scheduler="PNDMScheduler"), "'PNDMScheduler' is not supported"),
        (EditFriendly(4, scheduler="NoSuchScheduler"), "'NoSuchScheduler' is not supported"),
    ],
)
def test_samplers_without_noise_to_solve_for(
    make_editor: MakeEditor, z_0: Tensor, method: EditFriendly, message: str
) -> None:
    with pytest.raises(SchedulerError, match=message):
        method.invert(make_editor(), z_0, PROMPTS)


@pytest.mark.parametrize(
    "change",
    [{"strength": 0.0}, {"strength": 1.5}, {"guidance_scale": -1}, {"edit_guidance_scale": None}, {"seed": -1}],
)
def test_impossible_settings_of_edit_friendly_inversion(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        EditFriendly(**change)
