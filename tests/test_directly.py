"""Direct rules against steps that were computed by hand, and what they are handed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from renoise import ConfigError
from renoise.directly import DDCM, DirectRule, DirectStep, FlowEdit, walk_difference
from renoise.network import Network
from renoise.steps import Step

# A flow from t = 1 over t = 1/2 to t = 0: z' = z + (t' - t) m, with x0 = z - t m.
FLOW = (
    Step(1.0, -0.5, 0.0, 1000.0, alpha=0.0, sigma=1.0, x0_m=-1.0, eps_z=1.0, eps_m=0.0),
    Step(1.0, -0.5, 0.0, 500.0, alpha=0.5, sigma=0.5, x0_m=-0.5, eps_z=1.0, eps_m=0.5),
)
IMAGE, NOISE = torch.full((1, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1, 1, 1), 4.0)
NOTHING = torch.tensor([False])


def velocity(z: Tensor, step: Step) -> Tensor:
    return 3.0 * z


def own(z: Tensor, step: Step) -> Tensor:
    return z


def walked(rule: DirectRule, steps: tuple[Step, ...] = FLOW, noise: Tensor = NOISE) -> float:
    return walk_difference(steps, rule, Network(velocity), Network(own), IMAGE, noise, NOTHING).item()


def test_flow_edit_by_hand() -> None:
    # z_s = 4, D = 0: D = -1/2 (12 - 4) = -4. Then z_s = 3 and z_t = -1: D = -4 - 1/2 (-3 - 3) = -1.
    assert walked(FlowEdit()) == -1.0


def test_ddcm_by_hand() -> None:
    # x0 of the target less that of the source: -(12 - 4) = -8, of which half is in the next latent. Then z_s = 3 and
    # z_t = -1: D = -4 - 1/2 (-3 - 3) = -1.
    assert walked(DDCM()) == -1.0
    # A step later the two rules part: flows keep D along the way, consistency models predict it anew.
    assert walked(DDCM(), FLOW[:1], NOISE[:1]) == walked(FlowEdit(), FLOW[:1], NOISE[:1]) == -4.0


def test_the_two_rules_part_where_the_difference_is_not_straight() -> None:
    # From D = 1 at z_s = 3: D + psi (12 - 3) = -3.5; and x0: 1 - 1/2 (12 - 3) = -3.5, of which alpha' = 1 is kept.
    at = DirectStep(1, FLOW[1], IMAGE / 2.0, IMAGE[None] * 1.5, lambda z: 3.0 * z, lambda z: z)
    assert FlowEdit().advance(at).item() == DDCM().advance(at).item() == -3.5
    # At t = 1 with D = 1 and z_s = 3: D + psi (12 - 3) = -3.5 again, but (1 - 9) / 2 = -4.
    at = DirectStep(0, FLOW[0], IMAGE / 2.0, IMAGE[None] * 1.5, lambda z: 3.0 * z, lambda z: z)
    assert (FlowEdit().advance(at).item(), DDCM().advance(at).item()) == (-3.5, -4.0)


def test_flow_edit_takes_the_deterministic_step_of_a_stochastic_sampler() -> None:
    # Euler ancestral from level 2 to 1: z' = z/4 + 3/4 x0 + noise, of which Euler's step is (z + x0) / 2.
    euler = Step(1.0, -1.0, 0.0, 500.0, sigma=2.0, x0_m=-2.0)
    for step in (euler, euler.renewing(1.0)):
        at = DirectStep(0, step, IMAGE, IMAGE[None], lambda z: 4.0 + 0.0 * z, lambda z: 1.0 + 0.0 * z)
        assert FlowEdit().advance(at).item() == pytest.approx(2.0 - 3.0)


@pytest.mark.parametrize("rule", [FlowEdit(draws=2), DDCM(draws=2)], ids=repr)
def test_draws_are_averaged(rule: DirectRule) -> None:
    noise = torch.stack([NOISE[:, 0], 3.0 * NOISE[:, 0]], dim=1)
    alone = walked(type(rule)(), noise=2.0 * NOISE)
    assert walked(rule, noise=noise) == pytest.approx(alone)  # the networks are linear


def test_unchanged_images_stay() -> None:
    pair = IMAGE.expand(2, 1, 1, 1)
    noise = NOISE.expand(2, 1, 2, 1, 1, 1)
    unchanged = torch.tensor([True, False])
    found = walk_difference(FLOW, FlowEdit(), Network(velocity), Network(own), pair, noise, unchanged)
    assert found.flatten().tolist() == [0.0, -1.0]


@dataclass(frozen=True)
class Odd:
    draws: int = 1
    seen: list[DirectStep] = field(default_factory=list)

    def advance(self, at: DirectStep) -> Tensor:
        self.seen.append(at)
        return torch.zeros(3)


def test_a_rule_that_returns_no_latents_is_refused() -> None:
    rule = Odd()
    with pytest.raises(ConfigError, match="rule must return latents"):
        walked(rule)
    (at,) = rule.seen
    assert at.sources.flatten().tolist() == [4.0]


@pytest.mark.parametrize("rule", [FlowEdit, DDCM])
@pytest.mark.parametrize("draws", [0, 1.5, True, "2"])
def test_draws_are_whole_numbers(rule: type[FlowEdit] | type[DDCM], draws: object) -> None:
    with pytest.raises(ConfigError, match="draws must be a whole number"):
        rule(draws)  # type: ignore[arg-type]
