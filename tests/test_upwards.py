"""The walk up: drawn and solved steps, blocks, and passes counted image by image."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from renoise import (
    ConfigError,
    EditLosses,
    Editor,
    Inversion,
    InversionConfig,
    NoiseCorrection,
    Renoising,
    SchedulerError,
)
from renoise.backbones import Request
from renoise.config import Walk, presets
from renoise.network import Network
from renoise.solvers import (
    Accepted,
    Anderson,
    Extrapolated,
    FixedPoint,
    Known,
    NoisedImage,
    Passes,
    Problem,
    Residual,
    Solution,
)
from renoise.steps import Step
from renoise.upwards import invert_steps, most_passes

MakeEditor = Callable[..., Editor]
FEW = replace(presets["balanced-few-step"], num_steps=4)
MANY = FixedPoint(Extrapolated(2), Anderson(2, 1.0), Residual(1e-5, 8))


def latents(count: int = 2) -> Tensor:
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(3)) * 0.8


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("scheduler", "changes", "eta", "solved"),
    [
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, None, 1),
        ("LCMScheduler", {}, None, 1),
        ("TCDScheduler", {}, 0.3, 1),
        ("TCDScheduler", {}, 1.0, 1),
        ("DDPMScheduler", {}, None, None),
        ("DDIMScheduler", {"set_alpha_to_one": True}, 1.0, 1),
        ("DDIMScheduler", {"set_alpha_to_one": True}, 0.5, 1),
        ("DDIMScheduler", {}, 1.0, 0),
    ],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_stochastic_samplers_are_inverted_forwards(
    make_editor: MakeEditor, scheduler: str, changes: dict[str, object], eta: float | None, solved: int, prediction: str
) -> None:
    if prediction == "sample" and "Euler" in scheduler:
        pytest.skip("diffusers has no such step")
    editor = make_editor(scheduler=scheduler, prediction_type=prediction, **changes)
    config = replace(FEW, eta=eta, solver=FixedPoint(NoisedImage(), Anderson(), Passes(12)))
    z_0 = latents()
    inversion = editor.invert(latents=z_0, prompt="a lion", config=config, keep_trajectory=True)
    again = editor.reconstruct(inversion, "latent")
    assert inversion.noise is not None
    assert inversion.trajectory is not None
    # Every step whose noise was solved for is exact: it leads from its latent to the next one.
    steps = editor.model.steps(editor.pipe.scheduler, config, inversion.size)
    stochastic = [step.stochastic for step in steps]
    assert solved is None or stochastic.count(False) == solved
    assert [bool(r == 0.0) for r in inversion.residuals[:, 0]] == stochastic
    walk = inversion.trajectory.flip(0)
    with torch.no_grad():
        network = editor.model.network(
            editor.model.condition(Request(inversion.prompts, None, 1.0, inversion.size)), steps
        )
        for i, step in enumerate(steps):
            if step.stochastic:
                to = step.apply(walk[i], network(walk[i], step), inversion.noise[i])
                assert float((to - walk[i + 1]).abs().max()) < 1e-4 * max(1.0, float(walk[i + 1].abs().max()))
    if inversion.converged.all():
        assert relative(again, z_0) < 0.2


def calls_of(editor: Editor) -> list[int]:
    """The batch sizes in which the network is called."""
    sizes: list[int] = []
    editor.pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[0]))
    return sizes


@pytest.mark.parametrize("together", [1, 2, 4])
def test_solves_that_do_not_depend_on_each_other_run_as_one_batch(make_editor: MakeEditor, together: int) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    sizes = calls_of(editor)
    config = replace(FEW, walk=Walk(together=together), solver=FixedPoint(NoisedImage(), stop=Passes(3)))
    inversion = editor.invert(latents=latents(), prompt=["a lion", "a cat"], config=config)
    assert sizes == [2, 2, 2] + {1: [2, 2, 2], 2: [4, 2], 4: [6]}[together]
    assert inversion.network_passes == 6 == sum(sizes) // 2
    alone = editor.invert(latents=latents(), prompt=["a lion", "a cat"], config=replace(config, walk=Walk(together=1)))
    torch.testing.assert_close(inversion.latents, alone.latents)
    assert inversion.noise is not None
    assert alone.noise is not None
    torch.testing.assert_close(inversion.noise, alone.noise, rtol=1e-4, atol=1e-4)


def test_counted_passes_are_the_networks_calls_image_by_image(make_editor: MakeEditor) -> None:
    editor = make_editor()
    sizes = calls_of(editor)
    config = InversionConfig(num_steps=6, solver=FixedPoint(Extrapolated(2), stop=Residual(2e-3, 12)), walk=Walk())
    z_0 = torch.cat([latents(2), 0.01 * latents(1)])
    told: list[tuple[int, int]] = []
    inversion = editor.invert(
        latents=z_0, prompt=["a lion", "", "a cat"], config=config, progress=lambda p: told.append((p.done, p.total))
    )
    assert int(inversion.passes.sum()) == sum(sizes)
    assert inversion.network_passes == int(inversion.passes.max()) == told[-1][0]
    # The bound falls as steps take fewer passes than they could, and is reached in the end.
    assert told[0][1] > told[-1][1] == told[-1][0]
    assert [total for _, total in told] == sorted((total for _, total in told), reverse=True)
    for i, prompt in enumerate(["a lion", "", "a cat"]):
        alone = editor.invert(latents=z_0[i : i + 1], prompt=prompt, config=config)
        assert alone.network_passes == int(inversion.passes[i])
        assert relative(alone.latents, inversion.latents[i : i + 1]) < 1e-3  # untrained networks amplify rounding


def test_images_with_different_passes_are_saved_with_them(make_editor: MakeEditor, tmp_path: Path) -> None:
    config = InversionConfig(num_steps=4, solver=FixedPoint(Extrapolated(2), stop=Residual(2e-3, 6)), walk=Walk())
    inversion = make_editor().invert(latents=torch.cat([latents(1), 0.01 * latents(1)]), prompt="a", config=config)
    assert len(set(inversion.passes.tolist())) == 2
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert loaded.passes.tolist() == inversion.passes.tolist()
    assert loaded.config == config
    assert loaded.converged.tolist() == inversion.converged.tolist()


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_extrapolation_takes_fewer_passes_to_the_same_fixed_points(editor: Editor, guidance_scale: float) -> None:
    def inverted(solver: FixedPoint) -> Inversion:
        config = InversionConfig(num_steps=20, guidance_scale=guidance_scale, solver=solver, walk=Walk())
        return editor.invert(latents=latents(), prompt="a lion", config=config)

    ours, plain = inverted(MANY), inverted(replace(MANY, start=NoisedImage()))
    assert ours.converged.all()
    assert ours.network_passes < plain.network_passes
    assert relative(ours.latents, plain.latents) < 1e-2  # untrained networks amplify what is left
    assert relative(editor.reconstruct(ours, "latent"), latents()) < 1e-2


class Linear:
    """A network whose prediction is a line in the logarithm of the noise's share, and which counts its calls."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, z: Tensor, step: Step) -> Tensor:
        self.calls.append(step.timestep)
        return torch.full_like(z, math.log(step.noise_share))


def schedule(count: int) -> tuple[Step, ...]:
    return tuple(
        Step(0.95, 0.1, 0.0, 100.0 * (count - i), alpha=0.9 - 0.05 * (count - i), sigma=0.1 * (count - i))
        for i in range(count)
    )


@pytest.mark.parametrize(
    ("walk", "calls"),
    [
        (Walk(), [100, 200, 300, 400, 500, 600, 700]),
        (Walk(block=2, span=1.0), [100, 300, 500, 700]),
        (Walk(block=3, span=1.0), [100, 400, 700]),
        (Walk(block=3, span=0.16), [100, 200, 300, 500, 700]),
        (Walk(block=3, span=0.0), [100, 200, 300, 400, 500, 600, 700]),
    ],
)
def test_a_block_costs_the_passes_of_its_noisiest_step(walk: Walk, calls: list[float]) -> None:
    linear, steps = Linear(), schedule(7)
    config = InversionConfig(num_steps=7, walk=walk, solver=FixedPoint(Extrapolated(2), Anderson(2, 1.0), Passes(1)))
    found = list(invert_steps(steps, Network(linear), latents(1), None, config))
    assert linear.calls == calls
    assert sum(most_passes(steps, config)) == len(calls)
    assert [walked.index for walked in found] == [6, 5, 4, 3, 2, 1, 0]
    # Predictions on a line are interpolated exactly.
    z = latents(1)
    for walked in found:
        assert relative(walked.step.apply(walked.latents, Linear()(walked.latents, walked.step)), z) < 1e-5
        z = walked.latents


def test_steps_of_a_stochastic_sampler_that_share_a_solve_keep_their_noises() -> None:
    # Nothing says that its deterministic steps are the last ones.
    steps = tuple(replace(step, rho=0.2) if i == 1 else step for i, step in enumerate(schedule(6)))
    noise = torch.randn(6, 2, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    config = InversionConfig(num_steps=6, walk=Walk(block=3, span=1.0), solver=FixedPoint(Extrapolated(2)))
    found = list(invert_steps(steps, Network(Linear()), latents(2), noise, config))
    assert [walked.index for walked in found] == [5, 4, 3, 2, 1, 0]
    for walked in found:
        assert walked.noise is not None
        assert torch.equal(walked.noise, noise[walked.index]) == (not walked.step.stochastic)


def test_the_prediction_of_a_block_leads_to_where_it_was_inverted() -> None:
    steps = schedule(5)
    known = Known(latents(2), None, (Accepted(steps[4], latents(2)), Accepted(steps[3], -latents(2))))
    problem = Problem(steps[0], 100.0 * latents(2), None, Network(Linear()), known=known, below=steps[2:0:-1])
    z = problem.invert(0.5 * latents(2))
    prediction = problem.prediction_at(z)
    assert prediction is not None
    torch.testing.assert_close(prediction, 0.5 * latents(2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(problem.invert(prediction), z)


def test_steps_that_say_nothing_are_refused_before_the_first_pass() -> None:
    linear = Linear()
    steps = (*schedule(3), Step(0.0, 1.0, 0.0, 50.0, alpha=0.0, sigma=1.0, x0_z=0.0, x0_m=1.0, eps_z=1.0, eps_m=0.1))
    with pytest.raises(SchedulerError, match="cannot be inverted"):
        list(invert_steps(steps, Network(linear), latents(1), None, InversionConfig()))
    assert linear.calls == []


@pytest.mark.slow
def test_a_reconstruction_from_a_saved_file_is_equal_in_another_process(
    make_editor: MakeEditor, tmp_path: Path
) -> None:

    editor = Editor.from_pretrained("mini-turbo", device="cpu")
    config = editor.config("balanced")
    inversion = editor.invert(latents=latents(1), prompt="a cat, noto style, on a white background", config=config)
    assert inversion.config.walk is not None
    inversion.save(tmp_path / "i.safetensors")
    code = (
        "import sys, torch; from renoise import Editor, Inversion\n"
        "torch.set_num_threads(1)\n"
        "inversion = Inversion.load(sys.argv[1])\n"
        "torch.save(Editor.from_pretrained('mini-turbo', device='cpu').reconstruct(inversion, 'latent'), sys.argv[2])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "i.safetensors"), str(tmp_path / "z.pt")], check=True, timeout=300
    )
    assert torch.equal(torch.load(tmp_path / "z.pt"), editor.reconstruct(inversion, "latent"))


def test_edit_losses_leave_out_a_step_that_has_no_inverse(make_editor: MakeEditor) -> None:
    # The last step of sample prediction forgets its latent.
    editor = make_editor(scheduler="DDIMScheduler", prediction_type="sample", set_alpha_to_one=True)
    plain = InversionConfig(num_steps=3, renoising=Renoising(0))
    found = [
        editor.invert(latents=latents(1), prompt="a", config=config, keep_trajectory=True).trajectory
        for config in (plain, replace(plain, edit_losses=EditLosses()))
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][2], found[1][2])


@dataclass(frozen=True)
class Whole:
    """A solver whose residual is one number for all images."""

    max_passes: int = 1

    def solve(self, problem: Problem) -> Solution:
        solution = Renoising(0).solve(problem)
        return replace(solution, residual=solution.residuals.amax())


def test_a_solver_tells_the_residual_of_each_image() -> None:
    config = InversionConfig(num_steps=2, solver=Whole())
    with pytest.raises(ConfigError, match=r"solver must return a residual \(2,\), not \(\)"):
        list(invert_steps(schedule(2), Network(Linear()), latents(2), None, config))


def test_noise_correction_says_how_far_the_noises_of_a_forward_inversion_move(make_editor: MakeEditor) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")

    def inverted(correction: NoiseCorrection | None) -> Inversion:
        return editor.invert(latents=latents(), prompt="a lion", config=replace(FEW, noise_correction=correction))

    none, half, whole = (inverted(c) for c in (None, NoiseCorrection(0.5), NoiseCorrection(1.0)))
    assert none.noise is not None
    assert half.noise is not None
    assert whole.noise is not None
    assert torch.equal(none.latents, half.latents)
    assert torch.equal(none.noise, whole.noise)
    assert float(half.residuals[:3].min()) > float(none.residuals[:3].max()) == 0.0
    # Less of the way leaves the noises nearer to unit ones.
    assert abs(float(half.noise[:3].std()) - 1.0) < abs(float(none.noise[:3].std()) - 1.0)
    errors = [relative(editor.reconstruct(each, "latent"), latents()) for each in (half, none)]
    assert errors[1] < errors[0]


def test_a_direct_walk_wants_noise_to_draw_from() -> None:
    linear = Linear()
    with pytest.raises(ConfigError, match="noise is missing") as caught:
        list(invert_steps(schedule(3), Network(linear), latents(1), None, InversionConfig(walk=Walk(direct=True))))
    assert caught.value.argument == "noise"
    assert linear.calls == []
