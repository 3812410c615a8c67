"""A made-up edit rule and its test, in one file: docs/extending.md shows it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from renoise import Editor, InversionConfig, Progress
from renoise.edit_rules import EditStep


@dataclass(frozen=True)
class Anchored:
    """Adds to every step a share of what the source prompt's step misses on the way that the source took."""

    share: float = 1.0
    max_passes: int = 2

    def advance(self, at: EditStep) -> Tensor:
        z_next = at.step.apply(at.z, at.predict(at.z), at.noise)
        if at.source is None:  # the inversion did not keep its trajectory: plain sampling
            return z_next
        again = at.step.apply(at.source.start, at.predict_source(at.source.start), at.noise)
        return z_next + self.share * (at.source.end - again)


def test_a_new_rule_draws_the_source_exactly_and_its_passes_are_counted(editor: Editor, picture: Image.Image) -> None:
    # Plain sampler reversing in few steps misses the image; the rule adds what it misses.
    config = InversionConfig(num_steps=4).reversing()
    inversion = editor.invert(picture, "a cat", config=config, keep_trajectory=True)
    z_0, seen = editor.encode(picture), list[Progress]()
    plain = editor.edit(inversion, "a cat", guidance_scale=1.0, output_type="latent")
    drawn = editor.edit(
        inversion, "a cat", guidance_scale=1.0, rule=Anchored(), output_type="latent", progress=seen.append
    )
    assert float((plain - z_0).norm()) > 0.01
    torch.testing.assert_close(drawn, z_0, rtol=0.0, atol=1e-5)
    assert [told.done for told in seen] == list(range(1, 9))


def test_without_the_trajectory_it_is_plain_sampling(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a cat", config=InversionConfig(num_steps=4))
    plain, drawn = (editor.edit(inversion, "a dog", rule=rule, output_type="latent") for rule in (None, Anchored()))
    assert torch.equal(drawn, plain)
