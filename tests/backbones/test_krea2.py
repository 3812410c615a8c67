"""Krea 2: Turbo is told by its pipeline, and shifts no schedule by the size of an image."""

from __future__ import annotations

import pytest

from renoise import Editor, InversionConfig
from tiny_pipelines import BUILDERS


@pytest.mark.parametrize(("name", "num_steps"), [("krea2", 28), ("krea2-turbo", 8)])
def test_a_distilled_model_takes_few_steps(name: str, num_steps: int) -> None:
    config = Editor(BUILDERS[name]()).config("paper")
    assert (config.num_steps, config.guidance_scale) == (num_steps, 0.0)


def test_schedules_of_a_distilled_model_do_not_depend_on_the_size() -> None:
    config = InversionConfig(num_steps=4, guidance_scale=0.0)
    for name, alike in (("krea2", False), ("krea2-turbo", True)):
        editor = Editor(BUILDERS[name]())
        small, large = (editor.timesteps(config, (side, side)) for side in (256, 1024))
        assert (small == large) is alike


def test_scales_above_0_guide() -> None:
    backbone = Editor(BUILDERS["krea2-turbo"]()).model.backbone
    assert [backbone.guides(scale, 1.0) for scale in (0.0, 0.5, 4.5)] == [False, True, True]
