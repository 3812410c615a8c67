"""Batches: which images are worked on together, and how a batch that fails is divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import Editor, ImageError
from renoise.evaluation.batches import Encoded, Fitted, batches, divided, encode
from renoise.evaluation.data import Example
from renoise.evaluation.data.truths import Painter, Truth
from renoise.evaluation.judges import Judges
from renoise.evaluation.measurement import Measurement

Make = Callable[..., Measurement]


@pytest.fixture
def encoded(editor: Editor) -> list[Encoded]:
    """Three images, the second of which has a mask."""
    masks = (None, np.eye(64, dtype=bool), None)
    colours = ("red", "green", "blue")
    examples = [
        Example(colour, Image.new("RGB", (64, 64), colour), f"a {colour} field", mask=mask)
        for colour, mask in zip(colours, masks, strict=True)
    ]
    return encode(editor, [Fitted.of(editor, example, masked=True) for example in examples], Judges())


def test_images_are_asked_in_batches_of_equal_counts(encoded: list[Encoded], make_measurement: Make) -> None:
    one, two, three = (make_measurement(target=target) for target in ("x", "y", "z"))
    found = batches(encoded, [(one, two), (), (three,)])
    assert [[image.asked for image in batch] for batch in found] == [[(three,)], [(one, two)]]
    assert found[0][0].truth is encoded[2].truth
    assert found[1][0].z_0 is encoded[0].z_0


def test_a_batch_is_divided_by_images_and_then_by_targets(encoded: list[Encoded], make_measurement: Make) -> None:
    one, two = (make_measurement(target=target) for target in ("x", "y"))
    (whole,) = batches(encoded, [(one, two)] * 3)
    images = divided(whole)
    assert [[image.asked for image in batch] for batch in images] == [[(one, two)]] * 3
    assert [[image.asked for image in batch] for batch in divided(images[1])] == [[(one,)], [(two,)]]
    assert images[1][0].mask is not None


def test_every_image_is_encoded_with_its_round_trip(encoded: list[Encoded], editor: Editor) -> None:
    for one in encoded:
        assert (one.truth.shape, one.z_0.shape) == ((1, 3, *editor.size), (1, *encoded[0].z_0.shape[1:]))
        assert torch.allclose(one.round_trip, editor.decode(one.z_0, "pt"), atol=1e-5)
        assert one.structure is None


def test_the_digest_is_that_of_the_pixels_and_the_mask(editor: Editor) -> None:
    def digest(colour: str, mask: bool, masked: bool = True) -> str:
        example = Example("a", Image.new("RGB", (64, 64), colour), "a", mask=np.full((64, 64), True) if mask else None)
        return Fitted.of(editor, example, masked=masked).digest

    assert digest("red", mask=False) == digest("red", mask=True, masked=False)
    assert len({digest("red", mask=False), digest("red", mask=True), digest("blue", mask=False)}) == 3


def test_the_truth_about_edits_goes_with_the_image(editor: Editor) -> None:
    def picture(colour: str) -> Painter:
        return lambda: Image.new("RGB", (64, 64), colour)

    truth = Truth("colour", picture("blue"), (picture("red"),), ((0, 0, 255), (255, 0, 0)))
    example = Example("a", Image.new("RGB", (64, 64), "red"), "a", ("b",), truths={"b": truth})
    fitted = Fitted.of(editor, example, masked=True)
    without = Fitted.of(editor, example, masked=False)
    other = replace(example, truths={"b": replace(truth, result=picture("green"))})
    assert len({fitted.digest, without.digest, Fitted.of(editor, other, masked=True).digest}) == 3
    one, two = encode(editor, [fitted, without], Judges())
    assert {target: aim.unedited for target, aim in one.aims.items()} == {"b": pytest.approx(1.76, abs=0.01)}
    assert two.aims == {}


def test_an_image_that_cannot_be_read_is_refused(editor: Editor, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        Fitted.of(editor, Example("a", tmp_path / "none.png", "a"), masked=False)
