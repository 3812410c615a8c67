"""Edit rules: what the walk down hands them, and that plain sampling is what it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, Progress, Renoising
from renoise.edit_rules import EditRule, EditStep, PlainSampling
from renoise.steps import Step

CONFIG = InversionConfig(num_steps=4, renoising=Renoising(2))


@dataclass(frozen=True)
class Listening:
    """Samples plainly, or with the source's prediction, and keeps what it was given."""

    by_source: bool = False
    seen: list[EditStep] = field(default_factory=list)

    @property
    def max_passes(self) -> int:
        return 1

    def advance(self, at: EditStep) -> Tensor:
        self.seen.append(at)
        return at.step.apply(at.z, (at.predict_source if self.by_source else at.predict)(at.z), at.noise)


def test_plain_sampling_by_hand() -> None:
    steps = [Step(2.0, -1.0, 0.5, 2.0), Step(0.5, 1.0, 0.0, 1.0)]
    z, noise = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 4.0)
    first = PlainSampling().advance(EditStep(0, 2, steps[0], z, noise, lambda z: 3.0 * z, lambda z: z))
    assert first.item() == 2.0 * 2.0 - 6.0 + 0.5 * 4.0
    second = PlainSampling().advance(EditStep(1, 2, steps[1], z, noise, lambda z: 3.0 * z, lambda z: z))
    assert second.item() == 0.5 * 2.0 + 6.0  # a step that adds no noise has no use for one


def test_a_rule_sees_every_step_with_the_sources_latents(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert([picture, picture.rotate(90)], "a lion", config=CONFIG, keep_trajectory=True)
    assert inversion.trajectory is not None
    rule, targets = Listening(), [["a cat"], ["a dog", "a fox"]]
    plain = editor.edit(inversion, targets, output_type="latent")
    assert torch.equal(editor.edit(inversion, targets, rule=rule, output_type="latent"), plain)
    assert [(at.index, at.num_steps) for at in rule.seen] == [(i, 4) for i in range(4)]
    assert [at.step.timestep for at in rule.seen] == list(editor.timesteps(CONFIG))
    owners = torch.tensor([0, 1, 1])
    for at in rule.seen:
        assert at.source is not None
        assert torch.equal(at.source.start, inversion.trajectory[4 - at.index][owners])
        assert torch.equal(at.source.end, inversion.trajectory[3 - at.index][owners])


def test_without_a_trajectory_or_in_other_steps_there_are_no_source_latents(
    editor: Editor, picture: Image.Image
) -> None:
    rule = Listening()
    editor.edit(editor.invert(picture, "a lion", config=CONFIG), "a cat", rule=rule)
    inversion = editor.invert(picture, "a lion", config=CONFIG, keep_trajectory=True)
    editor.edit(inversion, "a cat", rule=rule, num_steps=5)
    assert len(rule.seen) == 9
    assert {at.source for at in rule.seen} == {None}


def test_predictions_of_the_source_reconstruct_and_are_counted(editor: Editor, picture: Image.Image) -> None:
    told: list[Progress] = []
    inversion = editor.invert(picture, "a lion", config=CONFIG)
    by_source = editor.edit(
        inversion, "a cat", rule=Listening(by_source=True), output_type="latent", progress=told.append
    )
    assert torch.equal(by_source, editor.reconstruct(inversion, "latent"))
    assert [at.done for at in told] == [1, 2, 3, 4]


def test_the_default_is_plain_sampling(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=CONFIG)
    ours = editor.edit(inversion, "a cat", rule=PlainSampling(), output_type="latent")
    assert torch.equal(ours, editor.edit(inversion, "a cat", output_type="latent"))
    assert isinstance(PlainSampling(), EditRule)


@pytest.mark.parametrize("rule", ["plain", 3, Listening])
def test_what_is_no_rule_is_refused(editor: Editor, picture: Image.Image, rule: object) -> None:
    inversion = editor.invert(picture, "a lion", config=CONFIG)
    with pytest.raises(ConfigError, match="rule must be a value with a method advance"):
        editor.edit(inversion, "a cat", rule=rule)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Odd:
    """Returns whatever it is told to."""

    made: object
    max_passes: object = 1

    def advance(self, at: EditStep) -> object:
        return self.made


@pytest.mark.parametrize("made", [None, torch.zeros(1), torch.zeros(1, 4, 16, 16, dtype=torch.float64)])
def test_a_rule_that_returns_no_latents_is_refused(editor: Editor, picture: Image.Image, made: object) -> None:
    inversion = editor.invert(picture, "a lion", config=CONFIG)
    with pytest.raises(ConfigError, match=r"rule must return latents torch\.float32") as caught:
        editor.edit(inversion, "a cat", rule=Odd(made))  # type: ignore[arg-type]
    assert caught.value.argument == "rule"
    with pytest.raises(ConfigError, match="max_passes must be a whole number"):
        editor.edit(inversion, "a cat", rule=Odd(made, "many"))  # type: ignore[arg-type]


def test_the_announced_passes_are_a_bound_for_guided_predictions_of_the_source(
    editor: Editor, picture: Image.Image
) -> None:
    told: list[Progress] = []
    inversion = editor.invert(picture, "a lion", config=replace(CONFIG, guidance_scale=2.0))
    editor.edit(inversion, "a cat", guidance_scale=1.0, rule=Listening(by_source=True), progress=told.append)
    assert [at.done for at in told] == [2, 4, 6, 8]
    assert told[-1].done <= told[-1].total
