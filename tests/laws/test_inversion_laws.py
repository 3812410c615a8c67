"""Laws of a whole inversion, over samplers, prediction types, spacings, lengths and parts of the method."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from renoise import EditLosses, Editor, Inversion, InversionConfig, NoiseCorrection, NumericalError, Renoising
from renoise.backbones import Request
from renoise.schedulers import steps_for

pytestmark = pytest.mark.slow

SAMPLERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "EDMEulerScheduler",
)
PROMPTS = ["a lion in the field", "a cat"]
LAW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Case:
    """A sampler and settings that it takes."""

    scheduler: Any
    config: InversionConfig


@cache
def tiny() -> Editor:
    return Editor.from_pretrained(Path(__file__).parents[1] / "data" / "tiny-sd", device="cpu", dtype="float32")


def editor_for(case: Case) -> Editor:
    pipe = diffusers.StableDiffusionPipeline(
        **{**tiny().pipe.components, "scheduler": case.scheduler}, requires_safety_checker=False
    )
    return Editor(pipe)


@st.composite
def cases(draw: st.DrawFn, *, corrected: bool = False) -> Case:
    name = draw(st.sampled_from(SAMPLERS))
    cls = getattr(diffusers, name)
    wanted = {
        **tiny().pipe.scheduler.config,
        "prediction_type": draw(st.sampled_from(["epsilon", "v_prediction"])),
        "timestep_spacing": draw(st.sampled_from(["leading", "trailing", "linspace"])),
        "clip_sample": False,
    }
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls(**{key: value for key, value in wanted.items() if key in known})
    has_eta = name in ("DDIMScheduler", "TCDScheduler")
    iterations = draw(st.integers(0, 3))
    config = InversionConfig(
        # From one or two of EDM's noise levels to nothing is too far to come back from.
        num_steps=draw(st.integers(3 if name.startswith("EDM") else 1, 7)),
        guidance_scale=draw(st.sampled_from([1.0, 2.0])),
        seed=draw(st.integers(0, 2**32)),
        eta=draw(st.sampled_from([None, 0.0, 0.5, 1.0])) if has_eta else None,
        renoising=Renoising(iterations, average=(draw(st.integers(0, iterations)), iterations + 1)),
        renoising_low_noise=draw(st.sampled_from([None, Renoising(1)])),
        edit_losses=draw(st.sampled_from([None, EditLosses()])),
        noise_correction=NoiseCorrection() if corrected else draw(st.sampled_from([None, NoiseCorrection(0.5)])),
    )
    return Case(scheduler, config)


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def inverted(editor: Editor, case: Case, z_0: torch.Tensor, prompt: Any, **options: Any) -> Inversion:
    """An inversion; cases in which an untrained network drives the latents to infinity say nothing about the laws."""
    try:
        return editor.invert(latents=z_0, prompt=prompt, config=case.config, **options)
    except NumericalError:
        reject()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@LAW
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_a_batch_gives_what_its_pictures_give_alone(case: Case, seed: int) -> None:
    editor, z_0 = editor_for(case), latents(seed)
    together = inverted(editor, case, z_0, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        alone = inverted(editor, case, z_0[i : i + 1], prompt)
        # Untrained networks and few steps can amplify the rounding of float32 a thousandfold.
        assert relative(together.latents[i : i + 1], alone.latents) < 1e-2
        assert together.network_passes == alone.network_passes
        if together.noise is not None and case.config.noise_correction is None:
            assert alone.noise is not None
            assert torch.equal(together.noise[:, i : i + 1], alone.noise)


@LAW
@given(case=cases(corrected=True), seed=st.integers(0, 2**32 - 1))
def test_noise_correction_makes_stochastic_steps_exact(case: Case, seed: int) -> None:
    editor = editor_for(case)
    inversion = inverted(editor, case, latents(seed), PROMPTS, keep_trajectory=True)
    steps = steps_for(case.scheduler, case.config.num_steps, eta=case.config.eta)
    assert inversion.trajectory is not None
    condition = editor.model.backbone.condition(Request(PROMPTS, None, case.config.guidance_scale, inversion.size))
    for index, step in enumerate(steps):
        if not step.stochastic:
            continue
        assert inversion.noise is not None
        z, z_prev = inversion.trajectory[len(steps) - index], inversion.trajectory[len(steps) - index - 1]
        with torch.no_grad():
            reached = step.apply(z, editor.model.backbone.predict(z, step, condition), inversion.noise[index])
        # what float32 leaves of terms of this size
        size = max(float(z_prev.norm()), abs(step.phi) * float(z.norm()))
        assert float((reached - z_prev).norm()) < 1e-5 * size, step


@LAW
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_nothing_of_the_users_is_changed_and_a_seed_decides(case: Case, seed: int) -> None:
    editor, z_0 = editor_for(case), latents(seed)
    case.scheduler.set_timesteps(5)
    before = {key: str(value) for key, value in vars(case.scheduler).items()}
    weights = [p.clone() for p in editor.pipe.unet.parameters()]
    first, second = (inverted(editor, case, z_0, PROMPTS) for _ in range(2))
    editor.reconstruct(first, "latent")
    assert {key: str(value) for key, value in vars(case.scheduler).items()} == before
    assert all(torch.equal(a, b) for a, b in zip(weights, editor.pipe.unet.parameters(), strict=True))
    assert torch.equal(first.latents, second.latents)
    if first.noise is not None:
        other = inverted(editor, Case(case.scheduler, replace(case.config, seed=case.config.seed + 1)), z_0, PROMPTS)
        assert other.noise is not None
        assert not torch.equal(first.noise, other.noise)
