"""The network under one condition: every pass is counted where it runs, and told of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from renoise.network import Network
from renoise.steps import Step

STEP = Step(1.0, 0.5, 0.0, 300.0)
Z = torch.ones(2, 1, 2, 2)


@pytest.mark.parametrize("cost", [1, 2])
def test_a_pass_costs_what_its_condition_says(cost: int) -> None:
    network = Network(lambda z, step: step.timestep * z, cost)
    assert torch.equal(network(Z, STEP), 300.0 * Z)
    network.run(Z, STEP)
    assert network.passes == 2 * cost


def test_who_watches_is_told_after_each_pass_with_the_count_so_far() -> None:
    told: list[tuple[int, float, Tensor, Tensor | None]] = []
    network = Network(lambda z, step: z, 2, lambda *at: told.append((at[0], at[1].timestep, at[2], at[3])))
    network(Z, STEP)
    network.run(Z, STEP)  # its caller tells of it
    assert [(passes, timestep) for passes, timestep, *_ in told] == [(2, 300.0)]
    residual = torch.zeros(2)
    network.tell(STEP, 2.0 * Z, residual)
    assert told[1][0] == 4
    assert told[1][3] is residual


def test_a_pass_that_fails_is_not_counted() -> None:
    def broken(z: Tensor, step: Step) -> Tensor:
        raise RuntimeError("no memory")

    network = Network(broken)
    with pytest.raises(RuntimeError):
        network(Z, STEP)
    assert network.passes == 0


def test_networks_beside_each_other_share_one_count_and_one_watch() -> None:
    told: list[int] = []
    target = Network(lambda z, step: z, 2, lambda passes, *_: told.append(passes))
    source = Network(lambda z, step: -z).beside(target)
    assert torch.equal(source(Z, STEP), -Z)
    assert torch.equal(target(Z, STEP), Z)
    assert (source.passes, target.passes, told) == (3, 3, [1, 3])
