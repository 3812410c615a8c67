"""Where random numbers come from: each image's noise is its own, and none is used twice."""

from __future__ import annotations

import pytest
import torch

from renoise import ConfigError
from renoise.noise import draw_noise, generators_for, given_or_drawn, noise_for_steps, separate_streams
from renoise.steps import Step

CPU = torch.device("cpu")
STEPS = [Step(1.0, 1.0, 0.5, t) for t in (900.0, 500.0, 100.0)]
SHAPE = (2, 4, 3, 3)


def test_an_images_noise_does_not_depend_on_its_neighbours() -> None:
    both = draw_noise(3, SHAPE, generators_for(None, 7, 2), CPU)
    alone = draw_noise(3, (1, *SHAPE[1:]), generators_for(None, 7, 1), CPU)
    assert both.shape == (3, *SHAPE)
    assert torch.equal(both[:, :1], alone)
    assert torch.equal(both[:, 1:], alone)


def test_one_generator_serves_the_images_in_turn() -> None:
    drawn = draw_noise(1, SHAPE, generators_for(torch.Generator().manual_seed(1), 0, 2), CPU)
    assert not torch.equal(drawn[:, 0], drawn[:, 1])


def test_separate_streams_draw_other_numbers_and_leave_the_generators_alone() -> None:
    generators = generators_for(None, 3, 2)
    streams = separate_streams(generators)
    assert not torch.equal(
        torch.randn(8, generator=streams[0]), torch.randn(8, generator=generators_for(None, 3, 1)[0])
    )
    assert torch.equal(draw_noise(1, SHAPE, generators, CPU), draw_noise(1, SHAPE, generators_for(None, 3, 2), CPU))
    assert separate_streams(generators_for(None, 2**63 - 1, 1))[0].initial_seed() < 2**63


@pytest.mark.parametrize("generator", ["seed", [1, 2], [torch.Generator()] * 3])
def test_generators_that_do_not_fit_are_refused(generator: object) -> None:
    with pytest.raises(ConfigError, match="generator") as caught:
        generators_for(generator, 0, 2)  # type: ignore[arg-type]
    assert caught.value.argument == "generator"


def test_steps_take_the_noises_that_are_held_and_draw_the_rest() -> None:
    held = draw_noise(3, SHAPE, generators_for(None, 5, 2), CPU)
    asked = [STEPS[0], Step(1.0, 1.0, 0.5, 300.0), Step(1.0, 1.0, 0.0, 50.0)]
    noises, missing = noise_for_steps(asked, STEPS, held, SHAPE, 5)
    assert missing == 1
    assert torch.equal(noises[0], held[0])
    # beyond the draws of the inversion itself
    assert torch.equal(noises[1], draw_noise(4, SHAPE, generators_for(None, 5, 2), CPU)[3])
    assert not noises[2].any()


def test_noises_are_given_or_drawn() -> None:
    z_0, generators = torch.zeros(SHAPE), generators_for(None, 5, 2)
    drawn = given_or_drawn(None, STEPS, z_0, generators)
    assert drawn is not None
    assert torch.equal(drawn, draw_noise(3, SHAPE, generators_for(None, 5, 2), CPU))
    given = given_or_drawn(drawn.double(), STEPS, z_0, generators)
    assert given is not None
    assert torch.equal(given, drawn)
    assert given_or_drawn(None, [Step(1.0, 1.0, 0.0, 1.0)], z_0, generators) is None
    with pytest.raises(ConfigError, match="num_steps, B, C, h, w"):
        given_or_drawn(drawn[:2], STEPS, z_0, generators)
