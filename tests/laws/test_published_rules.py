"""Laws of every edit rule over the samplers: the source, prompts near it, masks, and images of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from parity import relative, start
from quick import slow_but
from renoise import Editor, Inversion, InversionConfig
from renoise.directly import DDCM, DirectRule, FlowEdit
from renoise.edit_rules import EditRule, EditStep, KeepStructure, PlainSampling
from renoise.evaluation.outside.edit_rules import (
    Anchoring,
    AutomaticMask,
    Disagreement,
    Fusion,
    Gain,
    ReleasedNoises,
)
from tiny_pipelines import BUILDERS

# By name: the sampler's class (None is flow matching) and eta.
SAMPLERS: dict[str, tuple[str | None, float | None]] = {
    "euler ancestral": ("EulerAncestralDiscreteScheduler", None),
    "lcm": ("LCMScheduler", None),
    "tcd": ("TCDScheduler", None),
    "ddpm": ("DDPMScheduler", None),
    "ddim": ("DDIMScheduler", 0.0),
    "ddim, eta": ("DDIMScheduler", 1.0),
    "euler": ("EulerDiscreteScheduler", 0.0),
    "flow, eta": (None, 1.0),
}
SOFT = Disagreement(softness=1.0)
RULES: list[EditRule] = [
    PlainSampling(),
    KeepStructure(),
    AutomaticMask(),
    AutomaticMask(KeepStructure(), Disagreement("quantile", quantile=0.7)),
    AutomaticMask(Gain(at_edit=True), SOFT),
    ReleasedNoises(0.5),
    ReleasedNoises(0.5, None),
    Gain(),
    Gain(KeepStructure(), at_edit=True),
    Fusion(omega=1.0),
    Fusion(at_edit=True),
    Anchoring(),
    Anchoring(KeepStructure(), at_edit=True),
]
DIRECT: list[DirectRule] = [FlowEdit(), FlowEdit(draws=2), DDCM(), DDCM(draws=2)]
PROMPTS = ["a lion in the field", "a cat"]
TARGETS = ["a tiger in the field", "a dog on a red chair"]


@dataclass(frozen=True, eq=False)
class Case:
    """A sampler with inversions for edits: of two images, of each of them, and of embeddings in place of a prompt."""

    editor: Editor
    config: InversionConfig
    latents: Tensor
    embeds: dict[str, Tensor]
    both: Inversion = field(init=False)
    each: list[Inversion] = field(init=False)
    embedded: Inversion = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, Any] = {"config": self.config}
        z = self.latents
        object.__setattr__(self, "both", self.editor.invert(latents=z, prompt=PROMPTS, **found))
        alone = [self.editor.invert(latents=z[i : i + 1], prompt=PROMPTS[i], **found) for i in range(2)]
        object.__setattr__(self, "each", alone)
        given: dict[str, Any] = {**self.embeds, **found}
        object.__setattr__(self, "embedded", self.editor.invert(latents=z[:1], **given))


@pytest.fixture(scope="module", params=slow_but(["euler ancestral"], SAMPLERS))
def case(request: pytest.FixtureRequest) -> Case:
    name, eta = SAMPLERS[request.param]
    editor = Editor(BUILDERS["sd3" if name is None else "sd15-ddim"]())
    if name is not None:
        editor = editor.with_scheduler(name)
    config = replace(editor.config("edit"), num_steps=3, eta=eta)
    widths = editor.model.backbone.text_widths
    assert widths is not None
    drawn = torch.Generator().manual_seed(5)
    embeds = {"prompt_embeds": torch.randn(1, 5, widths[0] or 8, generator=drawn)}
    if widths[1] is not None:
        embeds["pooled_prompt_embeds"] = torch.randn(1, widths[1], generator=drawn)
    return Case(editor, config, 0.5 * start(editor, 2, (8, 16)), embeds)


def edited(case: Case, rule: EditRule, target: Any = None, inversion: Inversion | None = None, **more: Any) -> Tensor:
    one = case.both if inversion is None else inversion
    latents: Tensor = case.editor.edit(one, target, rule=rule, guidance_scale=1.0, output_type="latent", **more)
    return latents


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_source_prompt_gives_the_reconstruction_bit_for_bit(case: Case, rule: EditRule) -> None:
    assert torch.equal(edited(case, rule, PROMPTS), case.editor.reconstruct(case.both, "latent"))
    # A target beside it has an edit as if it were alone.
    mixed = edited(case, rule, [PROMPTS[0], TARGETS[1]])
    assert torch.equal(mixed[0], case.latents[0])
    assert relative(mixed[1], edited(case, rule, TARGETS)[1]) < 1e-4


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_images_of_a_batch_are_edited_as_they_are_alone(case: Case, rule: EditRule) -> None:
    both = edited(case, rule, TARGETS)
    for i in range(2):
        assert relative(both[i : i + 1], edited(case, rule, TARGETS[i], case.each[i])) < 1e-3


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_prompt_near_the_sources_gives_an_image_near_it(case: Case, rule: EditRule) -> None:
    def far(share: float) -> float:
        near = {name: embed * (1.0 + share) for name, embed in case.embeds.items()}
        return relative(edited(case, rule, inversion=case.embedded, **near), case.latents[:1])

    if rule == ReleasedNoises(0.5, None):  # it releases the source's own whatever the target is
        assert far(1e-4) > 1e-3
        return
    assert far(1e-5) < 1e-3


@dataclass(frozen=True, eq=False)
class Watched:
    """Keeps the masks of a rule, and of equal predictions at the source's place."""

    inner: Any
    max_passes: int = 1
    masks: list[Tensor] = field(default_factory=list)
    equal: list[Tensor] = field(default_factory=list)

    def advance(self, at: EditStep) -> Tensor:
        source, prediction = at.required_source(), at.predict(at.z)
        own = source.prediction
        if isinstance(self.inner, Disagreement):
            self.masks.append(self.inner.mask(at, prediction, "watched"))
            self.equal.append(self.inner.mask(replace(at, z=source.start, memory={}), own, "watched"))
        else:
            self.masks.append(self.inner.mask(prediction, own))
            self.equal.append(self.inner.mask(own, own))
        return PlainSampling().advance(at)


@pytest.mark.parametrize(
    "inner", [Disagreement(), SOFT, Disagreement("quantile"), ReleasedNoises().where, Fusion(), Anchoring()], ids=repr
)
def test_masks_are_in_their_range_and_empty_for_equal_predictions(case: Case, inner: Any) -> None:
    watched = Watched(inner)
    edited(case, watched, TARGETS)
    masks = torch.stack(watched.masks)
    assert masks.shape[1:] == (2, 1, *case.latents.shape[-2:])
    assert 0.0 <= float(masks.min()) <= float(masks.max()) <= 1.0
    assert float(torch.stack(watched.equal).max()) <= (1e-3 if isinstance(inner, Anchoring) else 0.0)


@pytest.mark.parametrize("rule", DIRECT, ids=repr)
def test_direct_edits(case: Case, rule: DirectRule) -> None:
    def direct(latents: Tensor, prompt: Any, target: Any) -> Tensor:
        how: dict[str, Any] = {"rule": rule, "config": case.config, "guidance_scale": 1.0}
        made: Tensor = case.editor.edit_directly(None, prompt, target, latents=latents, output_type="latent", **how)
        return made

    z = case.latents
    assert torch.equal(direct(z, PROMPTS, PROMPTS), z)
    both = direct(z, PROMPTS, TARGETS)
    mixed = direct(z, PROMPTS, [PROMPTS[0], TARGETS[1]])
    assert torch.equal(mixed[0], z[0])
    assert relative(mixed[1], both[1]) < 1e-4
    for i in range(2):
        assert not torch.equal(both[i], z[i])
        assert relative(both[i : i + 1], direct(z[i : i + 1], PROMPTS[i], TARGETS[i])) < 1e-3
