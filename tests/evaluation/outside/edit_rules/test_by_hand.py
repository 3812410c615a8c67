"""Each published rule against two steps that were computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import pytest
import torch
from torch import Tensor

from renoise import ConfigError
from renoise.edit_rules import EditRule, EditStep, PlainSampling, SourceStep
from renoise.evaluation.outside.edit_rules import (
    Anchoring,
    AutomaticMask,
    Disagreement,
    Fusion,
    Gain,
    ReleasedNoises,
)
from renoise.steps import Step

# z' = z - m / 2 + n / 2 from noise level 1, and z' = z - m to the image: with epsilon prediction x0 = z - sigma m.
STEPS = (
    Step(phi=1.0, psi=-0.5, rho=0.5, timestep=500.0, sigma=1.0, x0_m=-1.0),
    Step(phi=1.0, psi=-0.5, rho=0.0, timestep=250.0, sigma=0.5, x0_m=-0.5),
)
# Two places: the source at z_2 = (4, 4), z_1 = (2, 3) and z_0 = (1, 1), with predictions 2 and the target's 2 + gap.
PATH = ([4.0, 4.0], [2.0, 3.0], [1.0, 1.0])
GAP = [0.0, 1.0]


def latent(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values)).view(1, 1, 1, 2)


def walk(rule: EditRule, gap: Sequence[float] = GAP) -> list[list[float]]:
    """Take both steps, the first with the noise that makes the source's exact and the second with its offset."""
    z_2, z_1, z_0 = map(latent, PATH)
    own = latent([2.0, 2.0])
    noise = STEPS[0].noise_for(z_1, z_2, own)  # (-2, 0)
    offset = STEPS[1].needed(z_0, z_1) - own  # (0, 2)
    sources = (SourceStep(z_2, z_1, z_0, own), SourceStep(z_1, z_0, z_0, own, offset))
    z = z_2
    memory: dict[Hashable, Tensor] = {}
    found = []
    for index, (step, source) in enumerate(zip(STEPS, sources, strict=True)):

        def predict(z: Tensor) -> Tensor:
            return own + latent(gap)

        at = EditStep(index, 2, step, z, noise, predict, lambda z: own - 1.0, source, memory)
        z = rule.advance(at)
        found.append(z.flatten().tolist())
    return found


HARD = Disagreement("quantile", quantile=1.0, floor=0.1, mean=False)


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        # At the second place the target's prediction is 3: 4 - 1.5 + 0, then 2.5 - 1.5 - 1.
        (PlainSampling(), [2.0, 2.5], [1.0, 0.0]),
        # m = 2 + 2 gap = 4 there: 4 - 2, then 2 - 2 - 1.
        (Gain(weight=2.0), [2.0, 2.0], [1.0, -1.0]),
        # The source's prediction at the edit's latent is 1: m = 1 + 2 (m_t - 1) = (3, 5).
        (Gain(at_edit=True, weight=2.0), [1.5, 1.5], [0.0, -2.0]),
        # M = (0, 1): m = 2 + (M + omega (1 + M)) gap = (2, 5): 4 - 2.5, then 1.5 - 2.5 - 1.
        (Fusion(omega=1.0), [2.0, 1.5], [1.0, -2.0]),
        # r = m_0 - m_s = (4 - 1) - 2 = 1 at both places, and the second step's offset is (0, 2). Everything released:
        # m - r = (1, 2): (4 - 0.5 - 1, 4 - 1), then without the offset (2.5 - 1, 3 - 1.5).
        (ReleasedNoises(0.0, None), [2.5, 3.0], [1.5, 1.5]),
        # Half of it: m - r / 2 = (1.5, 2.5), then half of the offset: (2.25 - 1, 2.75 - 1.5 - 0.5).
        (ReleasedNoises(0.5, None), [2.25, 2.75], [1.25, 0.75]),
    ],
    ids=repr,
)
def test_two_steps(rule: EditRule, first: list[float], second: list[float]) -> None:
    assert walk(rule) == [pytest.approx(first), pytest.approx(second)]


def test_a_mask_keeps_the_sources_walk_where_predictions_agree() -> None:
    # Smoothing spreads the difference over both places of so small a latent: (1 + 0) / 2 = 0.5 and all of it counts.
    assert walk(AutomaticMask(where=HARD)) == walk(PlainSampling())
    # Below the floor the edit is the source's walk.
    floor = Disagreement("quantile", quantile=1.0, floor=0.6, mean=False)
    assert walk(AutomaticMask(where=floor)) == [[2.0, 3.0], [1.0, 1.0]]
    # M = (0.5 / 0.6 - 1) / 0.5 + 1/2 = 1/6 in the first step, and (0.25 / 0.6 - 1) / 0.5 + 1/2 < 0 in the second with
    # a prediction that is 1/2 off at half the noise.
    soft = Disagreement("quantile", quantile=1.0, floor=0.6, softness=0.5, mean=False)
    first, second = walk(AutomaticMask(where=soft))
    assert first == pytest.approx([2.0, 3.0 - 0.5 / 6.0])
    assert second == [1.0, 1.0]


def test_a_mask_of_released_noises_by_hand() -> None:
    # d = sqrt(mean of squares) is (0.5, 0.5) smoothed, its quantile 0.5, so that M = 1 at both places; keep = 1/4.
    ramp = Disagreement("quantile", quantile=0.9, share=0.5, softness=1.0, floor=0.05, squared=True, mean=False)
    first, _ = walk(ReleasedNoises(0.25, ramp))
    assert first == pytest.approx([2.0 + 0.75 * 0.5, 2.5 + 0.75 * 0.5])


def test_anchoring_by_hand() -> None:
    # n = (0, 1) between its quantiles, and closing by a square as large as the latent makes it 1 at both places. The
    # share of noise is 1/2, then 1/3, the cosine of two positive numbers 1.
    first, second = walk(Anchoring(power=1.0))
    inside = 1.0 / (1.0 + math.exp(-7.5))
    one = 4.0 - 0.5 * (2.0 + 0.5 * inside)
    assert first == pytest.approx([2.0, one])
    assert second == pytest.approx([1.0, one - 0.5 * (4.0 + 2.0 / 3.0 * inside)])


def test_a_mask_averages_over_the_steps() -> None:
    own = torch.zeros(1, 1, 1, 1)
    memory: dict[Hashable, Tensor] = {}
    source = SourceStep(own, own, own, own)
    where = Disagreement(floor=0.5, softness=1.0)
    found = []
    for index, gap in enumerate([1.0, 0.0]):
        prediction = torch.full_like(own, gap)
        at = EditStep(index, 2, STEPS[0], own, None, lambda z: z, lambda z: z, source, memory)
        found.append(where.mask(at, prediction, "a rule").item())
    assert found == [0.5, 0.5]  # both at Otsu's limit, which is then the mean 0.5 itself
    assert memory["a rule", where].item() == 0.5


def test_rules_that_steer_leave_the_step_to_another_rule() -> None:
    twice = Gain(Gain(weight=2.0), weight=2.0)
    assert walk(twice) == walk(Gain(weight=4.0))
    assert AutomaticMask(Gain(at_edit=True)).max_passes == 2
    assert Gain(ReleasedNoises(), at_edit=True).max_passes == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Disagreement("median"), "limit 'median' is unknown; use one of otsu, quantile"),  # type: ignore[arg-type]
        (lambda: Disagreement(floor=0), "floor must be above 0"),
        (lambda: Disagreement(softness=3), r"softness must be in \[0, 2\]"),
        (lambda: ReleasedNoises(2), r"keep must be in \[0, 1\]"),
        (lambda: Gain(weight=-1), "weight must be"),
        (lambda: Fusion(omega=float("nan")), "omega must be"),
        (lambda: Anchoring(power="5"), "power must be a number"),  # type: ignore[arg-type]
        (lambda: Gain(at_edit="yes"), "at_edit must be True or False"),  # type: ignore[arg-type]
        (lambda: Gain(PlainSampling), "rule must be a value with a method advance"),  # type: ignore[arg-type]
        (lambda: AutomaticMask(where="otsu"), "where must be a Disagreement"),  # type: ignore[arg-type]
        (lambda: ReleasedNoises(where="otsu"), "where must be a Disagreement"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_their_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
