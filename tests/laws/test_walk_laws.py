"""Laws of the walk up, over samplers, prediction types, spacings, lengths, walks and solvers.

The network is a smooth map of each image by itself. It knows how images and noise are mixed, as a trained one does, so
that thousands of inversions take seconds. `test_inversion_laws.py` has laws of whole pipelines.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import diffusers
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from renoise import ConfigError, InversionConfig, NoiseCorrection, Renoising, SchedulerError
from renoise.config import OWN_VARIANTS, Walk, presets
from renoise.network import Network
from renoise.schedulers import steps_for
from renoise.solvers import (
    CONVERGED,
    Anderson,
    CleanerLatent,
    Damped,
    Extrapolated,
    FixedPoint,
    NoisedImage,
    Passes,
    Persistent,
    Problem,
    Residual,
)
from renoise.solvers.problem import length_of
from renoise.steps import Step
from renoise.upwards import InvertedStep, invert_steps, most_passes

LAW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
# By sampler: the prediction types that diffusers has for it.
SAMPLERS = {
    "DDIMScheduler": ("epsilon", "v_prediction", "sample"),
    "DDPMScheduler": ("epsilon", "v_prediction", "sample"),
    "LCMScheduler": ("epsilon", "v_prediction", "sample"),
    "TCDScheduler": ("epsilon", "v_prediction", "sample"),
    "EulerDiscreteScheduler": ("epsilon", "v_prediction"),
    "EulerAncestralDiscreteScheduler": ("epsilon", "v_prediction"),
    "EDMEulerScheduler": ("epsilon", "v_prediction"),
    "FlowMatchEulerDiscreteScheduler": (None,),
}
IMAGES = 3


@dataclass(frozen=True)
class Case:
    """A sampler's steps, and settings of an inversion."""

    name: str
    steps: tuple[Step, ...]
    config: InversionConfig


class Mixed:
    """A network that takes a latent apart as a trained one does, with a bend of each image's own.

    Attributes:
        calls: how often each image was evaluated.
    """

    def __init__(self, images: Sequence[int] = range(IMAGES)) -> None:
        self._bends = [(0.0, 0.1, 0.25)[image] for image in images]
        self.calls: Counter[int] = Counter()
        self.network = Network(self._all, predict_each=self._each)

    def _all(self, z: Tensor, step: Step) -> Tensor:
        return self._each(z, [step] * len(z), range(len(z)))

    def _each(self, z: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        self.calls.update(images)
        each = zip(z, steps, images, strict=True)
        return torch.stack([self._one(one, step, self._bends[image]) for one, step, image in each])

    @staticmethod
    def _one(z: Tensor, step: Step, bend: float) -> Tensor:
        unit = z / math.hypot(step.alpha, step.sigma)
        share = step.alpha / math.hypot(step.alpha, step.sigma)
        image = share * unit + bend * torch.sin(2.0 * unit + bend)
        return (image - step.x0_z * z) / step.x0_m


@st.composite
def schedules(draw: st.DrawFn) -> tuple[str, tuple[Step, ...]]:
    name = draw(st.sampled_from(sorted(SAMPLERS)))
    cls = getattr(diffusers, name)
    prediction = draw(st.sampled_from(SAMPLERS[name]))
    zero = prediction == "v_prediction" and draw(st.booleans())
    wanted = {
        "prediction_type": prediction,
        "timestep_spacing": "trailing" if zero else draw(st.sampled_from(["leading", "trailing", "linspace"])),
        "rescale_betas_zero_snr": zero,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": draw(st.booleans()),
        "stochastic_sampling": draw(st.booleans()),
        "shift": 3.0,
    }
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls(**{key: value for key, value in wanted.items() if key in known})
    has_eta = name in ("DDIMScheduler", "TCDScheduler")
    try:
        steps = steps_for(
            scheduler,
            draw(st.integers(1, 7)),
            eta=draw(st.sampled_from([None, 0.0, 0.5, 1.0])) if has_eta else None,
            strength=draw(st.sampled_from([1.0, 1.0, 0.6])),
        )
    except (ConfigError, SchedulerError):  # no step is left, or one cannot be inverted
        assume(False)
        raise
    assume(all(step.solvable or step.forgets for step in steps))
    # A network that says nothing of the image in a latent has nothing for this test's one to take apart.
    assume(all(abs(step.x0_m) > 1e-3 and math.isfinite(step.x0_m) for step in steps))
    return name, steps


STARTS = st.sampled_from([CleanerLatent(), NoisedImage(), Extrapolated(1), Extrapolated(2), Extrapolated(3)])
UPDATES = st.sampled_from([Anderson(), Anderson(2, 1.0), Damped(), Damped(0.5)])
STOPS = st.sampled_from([Passes(1), Passes(4), Residual(1e-2, 5), Residual(1e-4, 9)])
ITERATIONS = st.builds(FixedPoint, STARTS, UPDATES, STOPS)
WALKS = st.builds(
    Walk,
    forward=st.booleans(),
    together=st.integers(1, 5),
    block=st.integers(1, 4),
    span=st.sampled_from([0.0, 0.06, 1.0]),
)
OWN = [presets[f"{variant}-{kind}"] for variant in OWN_VARIANTS for kind in ("few-step", "many-step", "flow")]
BUILT = st.builds(
    InversionConfig,
    solver=ITERATIONS | st.builds(Persistent, ITERATIONS) | st.sampled_from([None, Renoising(3)]),
    walk=WALKS | st.none(),
    noise_correction=st.sampled_from([None, None, NoiseCorrection(), NoiseCorrection(0.5)]),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return Case(*draw(schedules()), draw(st.sampled_from(OWN) | BUILT))


def latents(seed: int) -> Tensor:
    """Latents of images that differ in their contrast, so that some converge before others."""
    drawn = torch.randn(IMAGES, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.tensor([0.2, 1.0, 0.6]).view(-1, 1, 1, 1)


def noises(case: Case, seed: int) -> Tensor | None:
    if not (any(step.stochastic for step in case.steps) or case.config.walking.direct):
        return None
    return torch.randn(len(case.steps), IMAGES, 2, 4, 4, generator=torch.Generator().manual_seed(seed + 1))


def walked(case: Case, z_0: Tensor, noise: Tensor | None, network: Network) -> list[InvertedStep]:
    found = list(invert_steps(case.steps, network, z_0, noise, case.config))
    assert [each.index for each in found] == list(reversed(range(len(case.steps))))
    assert all((each.noise is None) == (noise is None) for each in found)
    return found


def far(a: Tensor, b: Tensor, size: Tensor) -> Tensor:
    """How far images are apart, relative to a size, (B,)."""
    return length_of(a - b) / length_of(size).clamp_min(1e-12)


@LAW
@given(case=cases(), seed=st.integers(0, 2**31))
def test_a_batch_gives_what_its_images_give_alone(case: Case, seed: int) -> None:
    z_0, noise, together = latents(seed), noises(case, seed), Mixed()
    found = walked(case, z_0, noise, together.network)
    for i in range(IMAGES):
        alone, own = Mixed([i]), None if noise is None else noise[:, i : i + 1]
        for a, b in zip(walked(case, z_0[i : i + 1], own, alone.network), found, strict=True):
            torch.testing.assert_close(a.latents[0], b.latents[i], rtol=1e-3, atol=1e-3 * float(a.latents.abs().max()))
            if a.noise is not None and b.noise is not None:
                torch.testing.assert_close(a.noise[0], b.noise[i], rtol=1e-2, atol=1e-2 * float(a.noise.abs().max()))
        assert alone.calls[0] == together.calls[i]


@LAW
@given(case=cases(), seed=st.integers(0, 2**31))
def test_counted_passes_are_the_networks_calls_and_bounds_hold(case: Case, seed: int) -> None:
    mixed = Mixed()
    found = walked(case, latents(seed), noises(case, seed), mixed.network)
    assert mixed.network.passes_of(range(IMAGES)) == [mixed.calls[i] for i in range(IMAGES)]
    if not isinstance(case.config.solver, Persistent):
        assert mixed.network.passes <= sum(most_passes(case.steps, case.config))
    for each in found:  # the history holds each image's own passes
        taken = int((~each.solution.residuals.isnan()).sum(dim=0).max())
        assert taken <= each.solution.passes


@LAW
@given(case=cases(), seed=st.integers(0, 2**31))
def test_every_step_whose_noise_was_solved_for_is_exact(case: Case, seed: int) -> None:
    walk = case.config.walk or Walk(forward=False)
    case = replace(case, config=replace(case.config, noise_correction=NoiseCorrection() if not walk.forward else None))
    z_prev = latents(seed)
    for each in walked(case, z_prev, noises(case, seed), Mixed().network):
        step, z = each.step, each.latents
        assume(float(z.abs().max()) < 1e6)  # the paper's iteration runs away from predictions of the image itself
        if step.stochastic:
            reached = step.apply(z, Mixed().network(z, step), each.noise)
            # what float32 leaves of terms of this size
            size = z_prev.abs() + abs(step.phi) * z.abs()
            assert float(far(reached, z_prev, size).max()) < 1e-5
        z_prev = z


@LAW
@given(case=cases(), seed=st.integers(0, 2**31))
def test_residuals_say_how_far_a_step_misses(case: Case, seed: int) -> None:
    walk = replace(case.config.walk or Walk(), block=1)
    solver = FixedPoint(case.config.solver.start if isinstance(case.config.solver, FixedPoint) else CleanerLatent())
    case = replace(case, config=replace(case.config, walk=walk, solver=solver, noise_correction=None))
    z_prev = latents(seed)
    for each in walked(case, z_prev, noises(case, seed), Mixed().network):
        step, z = each.step, each.latents
        reached = step.apply(z, Mixed().network(z, step), each.noise)
        size = torch.maximum(z_prev.abs(), 1e-2 * abs(step.phi) * z.abs())
        told = each.solution.reached
        assert bool((each.solution.converged == (told <= CONVERGED)).all())
        # The estimate is the one after the pass that the residual was measured at. Near a fixed point it is seldom
        # further away where the plain iteration moves z as if its noise stayed, and never by much: no pass has
        # evaluated it. A prediction of the image itself moves it further.
        near = (told < 0.02) & (abs(step.phi) * step.alpha > 0.5 * step.arrival[0])
        assert bool((far(reached, z_prev, size)[near] <= 3.0 * told[near] + 1e-4).all())
        z_prev = z


@settings(LAW, max_examples=20)
@given(case=cases(), seed=st.integers(0, 2**31))
def test_a_part_of_a_problem_is_the_problem_of_its_images(case: Case, seed: int) -> None:
    step, z_prev, noise = case.steps[-1], latents(seed), noises(case, seed)
    assume(step.solvable)
    own = noise[-1] if noise is not None and step.stochastic else None
    problem = Problem(step, z_prev, own, Mixed().network)
    rows = [2, 0]
    part = problem.part(rows, z_prev[rows])
    whole = problem.evaluate(z_prev)
    for other in (part.evaluate(z_prev[rows]), problem.evaluate(z_prev[rows], rows)):
        torch.testing.assert_close(other.value, whole.value[rows])
        torch.testing.assert_close(other.residual, whole.residual[rows])
    inner = part.evaluate(z_prev[[0]], [1])
    torch.testing.assert_close(inner.value, whole.value[[0]])
    assert problem.passes == 4  # image 0, which took part in all of them
    assert problem.part([1], z_prev[[1]]).passes == 0
