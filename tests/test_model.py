"""A pipeline behind its backbone: what comes in is prepared once, and what comes out is checked."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, NumericalError
from renoise.backbones import Request
from renoise.model import place
from renoise.steps import Step

STEP = Step(1.0, 0.5, 0.0, 300.0)


def test_images_are_prepared_as_they_are_inverted(editor: Editor, picture: Image.Image) -> None:
    with torch.no_grad():
        prepared = editor.model.prepare([picture, picture.rotate(180)], None, "pad")
    assert [fit.mode for fit in prepared.fits] == ["pad", "pad"]
    assert [image.size for image in prepared.images] == [editor.size[::-1]] * 2
    assert torch.equal(prepared.latents, editor.encode([picture, picture.rotate(180)], "pad"))
    again = editor.model.prepare(prepared, None)
    assert torch.equal(again.latents, prepared.latents)
    assert (again.images, again.fits, again.batched) == (prepared.images, prepared.fits, True)


def test_latents_take_the_place_of_images(editor: Editor) -> None:
    prepared = editor.model.prepare(None, torch.zeros(2, 4, 8, 8, dtype=torch.float64))
    assert (prepared.images, prepared.batched, prepared.latents.dtype) == ((), True, torch.float32)
    assert [fit.mode for fit in prepared.fits] == ["latents", "latents"]


def test_there_is_one_of_image_and_latents(editor: Editor, picture: Image.Image) -> None:
    for image, latents in ((None, None), (picture, torch.zeros(1, 4, 8, 8))):
        with pytest.raises(ConfigError, match="exactly one"):
            editor.model.prepare(image, latents)


def test_prepared_images_of_a_model_with_other_latents_are_refused(editor: Editor, picture: Image.Image) -> None:
    with torch.no_grad():
        prepared = editor.model.prepare(picture, None)
    prepared.latents.resize_(1, 3, 8, 8)
    with pytest.raises(ConfigError, match="latents must be a tensor"):
        editor.model.prepare(prepared, None)


def test_the_network_counts_and_checks_its_predictions(editor: Editor) -> None:
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        condition = editor.model.condition(Request(["a cat"], None, 3.0, editor.model.pixels(latents)))
        network = editor.model.network(condition, (STEP,))
        assert network(latents, STEP).shape == latents.shape
        assert network.passes == condition.passes == 2
        with pytest.raises(NumericalError, match="prediction at step 1 of 1, timestep 300"):
            network(latents * float("nan"), STEP)


def test_offloading_hooks_run_whatever_happens(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[None] = []
    monkeypatch.setattr(type(editor.pipe), "maybe_free_model_hooks", lambda pipe: freed.append(None))
    with pytest.raises(KeyError), editor.model.freeing():
        raise KeyError
    assert len(freed) == 1


def test_a_place_in_a_walk_is_told_in_words() -> None:
    other = Step(1.0, 0.5, 0.0, 100.0)
    assert place(other, (STEP, other)) == "at step 2 of 2, timestep 100"
    assert place(other, ()) == "at timestep 100"
