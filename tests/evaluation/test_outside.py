"""Methods of others do what their papers and diffusers say, cost what they claim, and refuse what they cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising, SchedulerError, presets
from renoise.evaluation import runner, runs
from renoise.evaluation.methods import Drawn, Method, ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.outside.edit_friendly import Solved, solve
from renoise.evaluation.outside.shared import clean_latents, network
from renoise.evaluation.registry import METHODS, method_from
from renoise.network import Network
from renoise.noise import draw_noise, generators_for
from renoise.schedulers import steps_for
from renoise.steps import Step
from renoise.walks import denoise_steps
from tiny_pipelines import BUILDERS

MakeEditor = Callable[..., Editor]

PROMPTS = ["a lion", "a cat"]
TARGETS = ["a tiger", "a dog"]
PLAIN = InversionConfig(num_steps=4, renoising=Renoising(0))
EVERY: list[Method] = [
    DDIMInverse(4),
    EditFriendly(4),
    NegativePrompt(PLAIN),
    NullPrompt(PLAIN),
]
TURBO = "EulerAncestralDiscreteScheduler"


@pytest.fixture
def z_0() -> Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def kind_of(method: Method) -> str:
    return method.kind


def distance(a: Tensor, b: Tensor) -> float:
    """The largest relative distance of an image."""
    return float(((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).max())


@contextmanager
def rows_seen(editor: Editor) -> Iterator[list[int]]:
    """How many latents each call of the network brings."""
    rows: list[int] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    try:
        yield rows
    finally:
        hook.remove()


# DDIM inversion of diffusers


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


# Edit-friendly inversion


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


def test_with_noise_in_the_last_step_the_picture_comes_back(make_editor: MakeEditor, z_0: Tensor) -> None:
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
def test_without_it_the_picture_is_what_the_network_sees_in_the_last_latent(
    make_editor: MakeEditor, z_0: Tensor, model: str, scheduler: str | None, changes: dict[str, Any]
) -> None:
    editor = make_editor(model, scheduler, **changes)
    method = EditFriendly(4, scheduler=None)
    z_0 = z_0 if model == "tiny-sd" else clean_latents(editor, z_0)
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


def test_noises_belong_to_the_picture_and_not_to_its_batch(make_editor: MakeEditor, z_0: Tensor) -> None:
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


# Negative and empty prompts


@pytest.mark.parametrize("scheduler", [None, TURBO])
@pytest.mark.parametrize("guidance_scale", [7.5, 2.0, 1.0])
def test_a_negative_source_prompt_undoes_guidance(
    make_editor: MakeEditor, z_0: Tensor, guidance_scale: float, scheduler: str | None
) -> None:
    editor = make_editor(scheduler=scheduler)
    ours = NegativePrompt(PLAIN, guidance_scale).invert(editor, z_0, PROMPTS)
    plain = ReNoise(PLAIN).invert(editor, z_0, PROMPTS)
    assert torch.equal(ours.latents, plain.latents)
    torch.testing.assert_close(ours.draw(None, None).pixels, plain.draw(None, None).pixels, atol=1e-4, rtol=0)
    guided = ReNoise(replace(PLAIN, guidance_scale=1.0)).invert(editor, z_0, PROMPTS).draw(None, 7.5).pixels
    assert not torch.allclose(guided, plain.draw(None, None).pixels, atol=1e-3)


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
def test_an_empty_prompt_is_both_source_and_negative(make_editor: MakeEditor, z_0: Tensor, model: str) -> None:
    editor = make_editor(model, "DDIMScheduler")
    ours = NullPrompt(PLAIN).invert(editor, z_0, PROMPTS)
    plain = ReNoise(PLAIN).invert(editor, z_0, ["", ""])
    assert torch.equal(ours.latents, plain.latents)
    assert torch.equal(ours.draw(None, None).pixels, plain.draw(None, None).pixels)
    # guidance towards an empty prompt from an empty prompt is none
    torch.testing.assert_close(ours.draw(["", ""], None).pixels, plain.draw(None, None).pixels, atol=1e-4, rtol=0)
    same = NegativePrompt(PLAIN).invert(editor, z_0, ["", ""])
    assert torch.equal(ours.draw(TARGETS, None).pixels, same.draw(TARGETS, None).pixels)


@pytest.mark.parametrize("kind", [NegativePrompt, NullPrompt])
def test_renoising_goes_with_both(
    make_editor: MakeEditor, z_0: Tensor, kind: type[NegativePrompt] | type[NullPrompt]
) -> None:
    config = replace(PLAIN, renoising=Renoising(2))
    method = kind(config)
    assert (method.iterations, kind().iterations) == (2, 0)
    prompts = PROMPTS if kind is NegativePrompt else ["", ""]
    noised = method.invert(make_editor(), z_0, PROMPTS)
    assert torch.equal(noised.latents, ReNoise(config).invert(make_editor(), z_0, prompts).latents)
    assert noised.passes == 12


def test_negative_prompts_mean_nothing_to_a_network_that_is_told_its_guidance(z_0: Tensor) -> None:
    editor = Editor(BUILDERS["lcm"]()).with_scheduler("DDIMScheduler")
    with pytest.raises(ConfigError, match="takes the guidance scale as an input"):
        NegativePrompt(PLAIN).invert(editor, z_0, PROMPTS)
    assert NegativePrompt(PLAIN, 1.0).invert(editor, z_0, PROMPTS).passes == 4


@pytest.mark.parametrize("kind", [NegativePrompt, NullPrompt])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": replace(PLAIN, guidance_scale=2.0)}, "guidance_scale=2; leave that at 1"),
        ({"config": "sd"}, "must be an InversionConfig, not str"),
        ({"config": None}, "must be an InversionConfig"),
        ({"guidance_scale": -1.0}, "guidance_scale must be"),
        ({"guidance_scale": "7.5"}, "guidance_scale must be"),
        ({"guidance_scale": float("inf")}, "guidance_scale must be"),
    ],
)
def test_impossible_settings_of_prompts(
    kind: type[NegativePrompt] | type[NullPrompt], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**change)


# All of them


def drawn_rows(
    editor: Editor, draw: Callable[[Sequence[str] | None, float | None], Drawn], *how: Any
) -> tuple[float, int]:
    """Network passes an image, as measured and as told."""
    with rows_seen(editor) as rows:
        drawn = draw(*how)
    assert drawn.pixels.shape == (2, 3, *editor.size)
    assert drawn.pixels.min() >= 0.0
    assert drawn.pixels.max() <= 1.0
    return sum(rows) / 2, drawn.passes


@pytest.mark.parametrize(
    ("method", "scheduler", "inversion", "reconstruction", "edit"),
    [
        (DDIMInverse(4), None, 4, 4, 4),
        (EditFriendly(4), None, 4, 4, 4),
        (EditFriendly(4, scheduler=None), TURBO, 3, 4, 4),
        (EditFriendly(4, guidance_scale=3.5), None, 8, 8, 4),
        (EditFriendly(4, guidance_scale=3.5, edit_guidance_scale=15), TURBO, 8, 8, 8),
        (EditFriendly(8, strength=0.5), None, 4, 4, 4),
        (NegativePrompt(PLAIN), None, 4, 8, 8),
        (NegativePrompt(replace(PLAIN, renoising=Renoising(2))), None, 12, 8, 8),
        (NegativePrompt(PLAIN, guidance_scale=1), TURBO, 4, 4, 4),
        (NullPrompt(PLAIN), None, 4, 4, 8),
        (NullPrompt(replace(PLAIN, renoising=Renoising(2))), TURBO, 12, 4, 8),
    ],
    ids=str,
)
def test_passes_are_counted_as_they_are_made(
    make_editor: MakeEditor,
    z_0: Tensor,
    method: Method,
    scheduler: str | None,
    inversion: int,
    reconstruction: int,
    edit: int,
) -> None:
    editor = make_editor(scheduler=scheduler)
    with rows_seen(editor) as rows:
        noised = method.invert(editor, z_0, PROMPTS)
    assert noised.latents.shape == z_0.shape
    assert sum(rows) / 2 == noised.passes == inversion
    assert drawn_rows(editor, noised.draw, None, None) == (reconstruction, reconstruction)
    assert drawn_rows(editor, noised.draw, TARGETS, None) == (edit, edit)
    assert drawn_rows(editor, noised.draw, TARGETS, 3.0) == (8, 8)
    assert drawn_rows(editor, noised.draw, TARGETS, 1.0) == (4, 4)


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_a_picture_does_not_depend_on_its_batch(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    editor = make_editor()
    both = method.invert(editor, z_0, PROMPTS)
    for i in range(2):
        alone = method.invert(editor, z_0[i : i + 1], PROMPTS[i : i + 1])
        torch.testing.assert_close(alone.latents[0], both.latents[i], atol=1e-4, rtol=1e-4)
        for targets, scale in ((None, None), (TARGETS, None), (TARGETS, 2.0)):
            a = alone.draw(None if targets is None else targets[i : i + 1], scale).pixels[0]
            torch.testing.assert_close(a, both.draw(targets, scale).pixels[i], atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_edits_follow_the_prompt_and_leave_the_pipeline_alone(
    make_editor: MakeEditor, z_0: Tensor, method: Method
) -> None:
    editor = make_editor()
    scheduler, config = editor.pipe.scheduler, dict(editor.pipe.scheduler.config)
    noised = method.invert(editor, z_0, PROMPTS)
    assert not torch.allclose(noised.draw(TARGETS, None).pixels, noised.draw(PROMPTS[::-1], None).pixels, atol=1e-4)
    assert not noised.latents.requires_grad
    assert editor.pipe.scheduler is scheduler
    assert dict(scheduler.config) == config


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_what_no_method_can_invert(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    editor = make_editor()
    with pytest.raises(ConfigError, match="latents must be a tensor"):
        method.invert(editor, z_0[:, :3], PROMPTS)
    with pytest.raises(NumericalError):
        method.invert(editor, z_0 * float("nan"), PROMPTS)
    noised = method.invert(editor, z_0, PROMPTS)
    with pytest.raises(ConfigError, match="2 images but 3"):
        noised.draw([*TARGETS, "a fox"], None)
    with pytest.raises(ConfigError, match="guidance_scale must be"):
        noised.draw(None, float("nan"))


@pytest.mark.parametrize("method", [m for m in EVERY if not isinstance(m, NullPrompt)], ids=kind_of)
def test_a_prompt_is_needed_for_every_picture(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    with pytest.raises(ConfigError, match="2 images but 1"):
        method.invert(make_editor(), z_0, PROMPTS[:1])


@pytest.mark.parametrize("kind", [DDIMInverse, EditFriendly])
@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "4"])
def test_impossible_numbers_of_steps(kind: type[DDIMInverse] | type[EditFriendly], num_steps: Any) -> None:
    with pytest.raises(ConfigError, match="num_steps must be"):
        kind(num_steps)


@pytest.mark.parametrize(
    "change",
    [{"strength": 0.0}, {"strength": 1.5}, {"guidance_scale": -1}, {"edit_guidance_scale": None}, {"seed": -1}],
)
def test_impossible_settings_of_edit_friendly_inversion(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        EditFriendly(**change)


# Records and runs

RECORDED: list[Method] = [
    *EVERY,
    EditFriendly(100, 0.5, 0.64, 3.5, 15, None, 7),
    NegativePrompt(presets["sdxl-turbo"], 3),
    NullPrompt(replace(presets["lcm"], renoising=Renoising(1, weights=(1, 3)), renoising_low_noise=None)),
]


@pytest.mark.parametrize("method", RECORDED, ids=str)
def test_settings_make_an_equal_method(method: Method) -> None:
    settings = method.settings()
    assert settings["kind"] == method.kind
    again = method_from(json.loads(json.dumps(settings)))
    assert again == method
    assert again.settings() == settings
    assert type(again) is METHODS[method.kind]


@pytest.mark.parametrize("method", RECORDED, ids=str)
def test_settings_that_are_incomplete_or_damaged(method: Method) -> None:
    settings = method.settings()
    for key in settings:
        with pytest.raises(ConfigError, match="unknown" if key == "kind" else "incomplete or damaged"):
            method_from({name: value for name, value in settings.items() if name != key})
    for key in set(settings) - {"scheduler"}:
        with pytest.raises(ConfigError):
            method_from({**settings, key: "nonsense"})


@pytest.mark.parametrize("kind", [None, "", "ddim", 3, ["renoise"], {}])
def test_unknown_methods(kind: Any) -> None:
    with pytest.raises(ConfigError, match="known are renoise, ddim-inverse, edit-friendly, negative-prompt, null-prom"):
        method_from({"kind": kind})


def test_the_papers_rows_stay_first() -> None:
    preset = replace(presets["sdxl-turbo"], seed=3)
    rows = runs.RUNS["table2"].rows(preset)
    assert [(r.label, r.method) for r in rows[:7]] == [(name, ReNoise(c)) for name, c in runs.ablation(preset)]
    assert [(row.label, row.method) for row in rows[-4:]] == [
        ("DDIM inversion of diffusers", DDIMInverse(4)),
        ("edit-friendly DDPM inversion", EditFriendly(4, scheduler=None, seed=3)),
        ("negative-prompt inversion", NegativePrompt(preset.reversing())),
        ("null-prompt inversion", NullPrompt(preset.reversing())),
    ]
    assert {row.method.num_denoising_steps for row in rows} == {4}
    longer = [row.label for row in rows if row.method.num_inversion_steps != 4]
    assert longer == ["sampler reversing, twice the inversion steps"]
    assert len({row.label for row in rows}) == len(rows)


@pytest.fixture
def run_of_others(monkeypatch: pytest.MonkeyPatch) -> str:
    """A run with the four methods, and one that fails."""
    failing = runs.Row("failing", EditFriendly(4, scheduler="EulerDiscreteScheduler"))
    rows = (*(runs.Row(method.kind, method) for method in EVERY), failing)
    known = {"others": runs.Run("methods of others", lambda preset: rows)}
    monkeypatch.setattr(runs, "RUNS", known)
    return "others"


def test_they_are_measured_like_any_other(
    make_editor: MakeEditor, tmp_path: Path, picture: Image.Image, run_of_others: str
) -> None:
    pytest.importorskip("torchmetrics")
    source = tmp_path / "pictures"
    source.mkdir()
    lines = [{"file": "a.png", "caption": "a lion"}, {"file": "b.png", "caption": "a cat"}]
    picture.save(source / "a.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(source / "b.png")
    (source / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    editor = make_editor()
    task = runner.Task(run_of_others, editor, str(source), tmp_path / "results", batch=2)
    measured = runner.measure(task)
    good, failed = measured[:-2], measured[-2:]
    assert [m.method for m in good] == [m.kind for m in EVERY for _ in range(2)]
    assert {m.method: (m.passes_inversion, m.passes_denoising) for m in good} == {
        "ddim-inverse": (4, 4),
        "edit-friendly": (4, 4),
        "negative-prompt": (4, 8),
        "null-prompt": (4, 4),
    }
    for m in good:
        assert m.error is None
        assert m.psnr is not None
        assert method_from(m.settings) in EVERY
    for m in failed:
        assert m.psnr is None
        assert m.error is not None
        assert "adds noise" in m.error
    exact = [m for m in good if m.method == "edit-friendly"]
    assert all(m.psnr_roundtrip is not None and m.psnr_roundtrip > 60.0 for m in exact)
    again = runner.recompute(good[3], editor)
    assert again.psnr == pytest.approx(good[3].psnr, abs=1e-2)
