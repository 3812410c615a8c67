"""The rule that keeps what structure shows to have survived: its measure of structure, and its steps by hand."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import partial

import pytest
import torch
from torch import Tensor

from renoise import ConfigError
from renoise.edit_rules import EditStep, KeepNothing, KeepStructure, SourceStep
from renoise.edit_rules.structure import disagreement, parts, released, structure
from renoise.steps import Step

# A step of an epsilon model from alpha .6 and sigma .8 to alpha .8 and sigma .6, of which noise renews .36.
RENEWING = Step(
    4 / 3, 0.48 - 0.8 * 4 / 3, 0.36, 500.0, alpha=0.6, sigma=0.8, x0_z=1 / 0.6, x0_m=-0.8 / 0.6, eps_z=0.0, eps_m=1.0
)
LAST = Step(1 / 0.8, -0.6 / 0.8, 0.0, 250.0, alpha=0.8, sigma=0.6, x0_z=1 / 0.8, x0_m=-0.6 / 0.8)


def latents(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (1, 16, 64, 64), (1, 4, 3, 5), (1, 4, 33, 70), (1, 4, 1, 1)])
def test_structure_is_a_share_at_every_place(shape: tuple[int, ...]) -> None:
    a, b = latents(1, *shape), latents(2, *shape)
    alike = structure(a, b)
    assert alike.shape == (shape[0], 1, *shape[2:])
    assert float(alike.min()) >= 0.0
    assert float(alike.max()) <= 1.0
    torch.testing.assert_close(structure(b, a), alike)
    torch.testing.assert_close(structure(a, a), torch.ones_like(alike))


def test_structure_sees_outlines_and_no_colours() -> None:
    a = latents(1, 1, 4, 16, 16)
    assert float(structure(a, a + 3.0).min()) > 0.999
    assert float(structure(a, -a).max()) < 0.01
    assert float(structure(a, 0.1 * a).mean()) < 0.3  # the same outlines, but faint
    flat = torch.zeros_like(a)
    assert float(structure(flat, flat + 1.0).min()) == 1.0


def test_the_moments_by_hand() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    b = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    # Every window is the whole of it: means of 1/4, variances of 3/16, a covariance of -1/16.
    expected = max((2 * -1 / 16 + 0.005) / (6 / 16 + 0.005), 0.0)
    torch.testing.assert_close(structure(a, b), torch.full((1, 1, 2, 2), expected))
    c = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    # A variance of 4/16 beside 3/16, and a covariance of 1/4 - 1/8 = 2/16.
    expected = (2 * 2 / 16 + 0.005) / (7 / 16 + 0.005)
    torch.testing.assert_close(structure(a, c), torch.full((1, 1, 2, 2), expected))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_window_shows_the_same_part_of_larger_latents(factor: int) -> None:
    a, b = latents(1, 2, 4, 16, 16), latents(2, 2, 4, 16, 16)
    larger = structure(*(x.repeat_interleave(factor, 2).repeat_interleave(factor, 3) for x in (a, a + 0.3 * b)))
    centres = larger[..., factor // 2 - 1 :: factor, factor // 2 - 1 :: factor]
    beside = larger[..., factor // 2 :: factor, factor // 2 :: factor]
    # Between the blocks it is interpolated, so that the middle of a block is off by a little.
    torch.testing.assert_close((centres + beside) / 2, structure(a, a + 0.3 * b), rtol=0.0, atol=0.25 / factor)


def _told(prediction: Tensor, z: Tensor) -> Tensor:
    return prediction


def source_of(step: Step, seed: int = 3, offset: Tensor | None = None) -> tuple[SourceStep, Tensor | None]:
    """A source's exact step from anywhere to anywhere, and its noise."""
    shape = (2, 4, 16, 16)
    start, image, prediction = (latents(seed + i, *shape) for i in range(3))
    if not step.stochastic:
        lacking = torch.zeros(shape) if offset is None else offset
        return SourceStep(start, step.apply(start, prediction + lacking), image, prediction, offset), None
    end = latents(seed + 3, *shape)
    return SourceStep(start, end, image, prediction), step.noise_for(end, start, prediction)


@pytest.mark.parametrize("step", [RENEWING, LAST])
def test_the_parts_of_a_step_are_the_whole_of_it(step: Step) -> None:
    source, _ = source_of(step, offset=latents(9, 2, 4, 16, 16))
    own = parts(step, source)
    again = step.apply(source.start, own.predicted + own.unpredicted, own.noise)
    torch.testing.assert_close(again, source.end, rtol=1e-4, atol=1e-4)
    if step.stochastic:  # with what the model lacks, the clean latent is the image
        clean = step.x0_z * source.start + step.x0_m * (own.predicted + own.unpredicted)
        torch.testing.assert_close(clean, source.image, rtol=1e-4, atol=1e-4)


def test_a_solved_step_without_noise_lacks_nothing() -> None:
    source, _ = source_of(LAST)
    assert not parts(LAST, source).unpredicted.any()


@pytest.mark.parametrize("step", [RENEWING, LAST])
def test_all_kept_is_plain_sampling_with_all_that_the_inversion_found(step: Step) -> None:
    source, noise = source_of(step, offset=latents(9, 2, 4, 16, 16))
    z, m = latents(20, 2, 4, 16, 16), latents(21, 2, 4, 16, 16)
    at = EditStep(0, 2, step, z, noise, lambda z: m, lambda z: m, source)
    whole = m if source.offset is None else m + source.offset
    torch.testing.assert_close(
        released(at, source, m, torch.ones(())), step.apply(z, whole, noise), rtol=1e-4, atol=1e-4
    )


FLOW = Step(1.0, -0.2, 0.0, 700.0, alpha=0.3, sigma=0.7, x0_z=1.0, x0_m=-0.7, eps_z=1.0, eps_m=0.3)


@pytest.mark.parametrize("step", [RENEWING, LAST, FLOW, FLOW.renewing(1.0)])
def test_the_sources_share_is_its_noise_at_every_latent(step: Step) -> None:
    source, _ = source_of(step, offset=latents(9, 2, 4, 16, 16))
    own, z = parts(step, source), latents(20, 2, 4, 16, 16)
    at = EditStep(0, 1, step, z, None, lambda z: z, lambda z: z, source)
    z_next = released(at, source, latents(21, 2, 4, 16, 16), torch.zeros(()), 0.0)
    noise = step.implied_noise(z, step.needed(z_next, z, own.noise))
    expected = step.implied_noise(source.start, own.predicted + own.unpredicted)
    torch.testing.assert_close(noise, expected, rtol=1e-3, atol=1e-3)


def test_with_zero_terminal_snr_the_first_step_is_the_sources() -> None:
    step = Step(0.0, -0.9, 0.0, 999.0, alpha=0.0, sigma=1.0, x0_z=0.0, x0_m=-1.0, eps_z=1.0, eps_m=0.0)
    source, _ = source_of(step)
    at = EditStep(0, 1, step, source.start, None, lambda z: z, lambda z: z, source)
    torch.testing.assert_close(released(at, source, source.start, torch.zeros(()), 0.0), source.end)


def test_two_steps_by_hand() -> None:
    # Latents of one value are flat, so that all their structure is the same. They disagree everywhere alike, so that
    # half of what the model did not predict is kept, to the share w = s.
    def full(value: float) -> Tensor:
        return torch.full((1, 4, 2, 2), value)

    rule, memory = KeepStructure(0.5), dict[Hashable, Tensor]()
    image, z_2, z_1, m_2, m_1 = full(1.0), full(2.0), full(1.5), full(0.25), full(0.5)
    first = SourceStep(z_2, z_1, image, m_2)
    target = full(0.75)
    y_1 = rule.advance(EditStep(0, 2, RENEWING, z_2, None, lambda z: target, lambda z: m_2, first, memory))
    # The prediction that knows the image: (z - alpha x0) / sigma = (2 - .6) / .8 = 1.75, which lacks 1.5.
    noise = (1.5 - RENEWING.phi * 2.0 - RENEWING.psi * 1.75) / RENEWING.rho
    blended = 0.5 * 1.75 + 0.5 * (0.75 + 0.5 * 1.5)
    y = RENEWING.phi * 2.0 + RENEWING.psi * blended + 0.36 * noise
    assert y_1.flatten()[0].item() == pytest.approx(y, abs=1e-5)
    lacking = (1.0 - LAST.phi * 1.5) / LAST.psi - 0.5
    last = SourceStep(z_1, image, image, m_1, full(lacking))
    y_0 = rule.advance(EditStep(1, 2, LAST, y_1, None, lambda z: target, lambda z: m_1, last, memory))
    assert abs(LAST.x0_z * (y - 1.5) + LAST.x0_m * (0.75 - 0.5)) > 0.75 * 0.1  # enough to disagree in full
    blended = 0.5 * (0.5 + lacking) + 0.5 * (0.75 + 0.5 * lacking)
    assert y_0.flatten()[0].item() == pytest.approx(LAST.phi * y + LAST.psi * blended, abs=1e-5)
    assert torch.equal(memory[rule], torch.ones(1, 1, 2, 2))
    assert torch.equal(rule.changed(memory), torch.full((1, 1, 2, 2), 0.5))


def test_disagreement_by_hand() -> None:
    a, b = torch.zeros(1, 1, 1, 5), torch.tensor([0.0, 0.0, 3.0, 3.0, 3.0]).reshape(1, 1, 1, 5)
    # Means of three: 0, 1, 2, 3, 3. Their 90 % quantile is 3, so that M = 2 d / 3 - 1/2.
    expected = torch.tensor([0.0, 1 / 6, 5 / 6, 1.0, 1.0]).reshape(1, 1, 1, 5)
    torch.testing.assert_close(disagreement(a, b), expected)
    # Differences below a quarter of 0.1 are none.
    assert not disagreement(a, a + 0.02).any()


@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (1, 16, 64, 64), (1, 4, 3, 5), (1, 4, 33, 70), (1, 4, 1, 1)])
def test_disagreement_is_a_share_at_every_place(shape: tuple[int, ...]) -> None:
    a, b = latents(1, *shape), latents(2, *shape)
    where = disagreement(a, b)
    assert where.shape == (shape[0], 1, *shape[2:])
    assert float(where.min()) >= 0.0
    assert float(where.max()) <= 1.0
    assert not disagreement(a, a).any()
    for i in range(shape[0]):  # each image by its own measure
        torch.testing.assert_close(disagreement(a[i : i + 1], b[i : i + 1]), where[i : i + 1])


def test_where_structure_is_another_nothing_is_kept_and_the_mean_runs_over_the_steps() -> None:
    source, noise = source_of(LAST, offset=latents(9, 2, 4, 16, 16))
    clean = LAST.x0_z * source.start + LAST.x0_m * source.prediction
    opposite = (-clean - LAST.x0_z * source.start) / LAST.x0_m  # the prediction whose clean latent is the negative
    rule, memory = KeepStructure(1.0), dict[Hashable, Tensor]()
    for index, (prediction, mean) in enumerate([(opposite, 0.0), (source.prediction, 0.5), (opposite, 1 / 3)]):
        at = EditStep(index, 3, LAST, source.start, noise, partial(_told, prediction), torch.abs, source, memory)
        z = rule.advance(at)
        torch.testing.assert_close(z, LAST.apply(source.start, prediction), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(memory[rule], torch.full((2, 1, 16, 16), mean), rtol=0.0, atol=0.02)
        torch.testing.assert_close(KeepNothing(1.0).advance(at), z)


@pytest.mark.parametrize("rule", [KeepStructure, KeepNothing])
def test_strength_from_the_source_to_the_target(rule: type[KeepStructure] | type[KeepNothing]) -> None:
    source, noise = source_of(RENEWING)
    target = latents(21, 2, 4, 16, 16)
    moved = []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = EditStep(0, 1, RENEWING, source.start, noise, lambda z: target, lambda z: z, source)
        moved.append(float((rule(strength).advance(at) - source.end).norm()))
    assert moved[0] < 1e-3
    assert moved == sorted(moved)
    assert moved[-1] > 1.0


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan, "much", None, True])
@pytest.mark.parametrize("rule", [KeepStructure, KeepNothing])
def test_a_strength_out_of_its_range_is_refused(
    rule: type[KeepStructure] | type[KeepNothing], strength: object
) -> None:
    with pytest.raises(ConfigError, match="strength"):
        rule(strength)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [KeepStructure(), KeepNothing()])
def test_without_the_sources_walk_there_is_nothing_to_keep(rule: KeepStructure | KeepNothing) -> None:
    z = latents(1, 1, 4, 16, 16)
    with pytest.raises(ConfigError, match="needs the source's latents") as caught:
        rule.advance(EditStep(0, 1, LAST, z, None, lambda z: z, lambda z: z))
    assert caught.value.argument == "rule"
