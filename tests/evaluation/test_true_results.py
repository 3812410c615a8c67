"""Edits against their true results: right on the result itself, on the source, and on something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import Editor, images
from renoise.evaluation.data.truths import Colour, Painter, Truth
from renoise.evaluation.metrics import HIGHEST_PSNR, decibels
from renoise.evaluation.true_results import Aim, aims, digest

WHITE, BLUE, PINK = (255, 255, 255), (150, 200, 240), (245, 180, 200)
BORDERS: tuple[Colour, ...] = (WHITE, BLUE, PINK)


def square(colour: str, background: Colour = WHITE, side: int = 128) -> Painter:
    """A square in the middle of a plain background."""

    def picture() -> Image.Image:
        image = Image.new("RGB", (side, side), background)
        image.paste(colour, (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
        return image

    return picture


def pixels(picture: Painter) -> Tensor:
    return images.to_tensor([picture()])


SOURCE, RESULT, OTHER = square("red"), square("green"), square("black")
CONCEPT = Truth("concept", RESULT, (SOURCE, OTHER), BORDERS)
BACKGROUND = Truth("background", square("red", BLUE), (), (BLUE, WHITE, PINK))


@pytest.fixture
def concept(editor: Editor) -> Aim:
    return Aim.of(editor, CONCEPT, pixels(SOURCE))


@pytest.fixture
def background(editor: Editor) -> Aim:
    return Aim.of(editor, BACKGROUND, pixels(SOURCE))


@pytest.fixture
def numbers(editor: Editor) -> Callable[[Aim, Painter], dict[str, float | None]]:
    def of(aim: Aim, edit: Painter) -> dict[str, float | None]:
        drawn = pixels(edit)
        return aim.numbers(drawn, editor.encode(drawn)[0])

    return of


Numbers = Callable[[Aim, Painter], dict[str, float | None]]


def test_the_true_result_itself(concept: Aim, background: Aim, numbers: Numbers) -> None:
    unedited = decibels(pixels(SOURCE), pixels(RESULT))
    assert numbers(concept, RESULT) == {
        "changed": 1.0,
        "kept": 1.0,
        "psnr_target": HIGHEST_PSNR,
        "psnr_target_unedited": unedited,
    }
    found = numbers(background, BACKGROUND.result)
    assert (found["changed"], found["kept"], found["psnr_target"]) == (1.0, None, HIGHEST_PSNR)


def test_the_source(concept: Aim, background: Aim, numbers: Numbers) -> None:
    for aim in (concept, background):
        found = numbers(aim, SOURCE)
        assert found["changed"] == 0.0
        assert found["psnr_target"] == found["psnr_target_unedited"] == pytest.approx(aim.unedited)
    assert numbers(concept, SOURCE)["kept"] == 1.0


def test_something_else(concept: Aim, background: Aim, numbers: Numbers) -> None:
    assert numbers(concept, OTHER)["changed"] == 0.0
    # What it should have become, on a background that nobody asked for.
    found = numbers(concept, square("green", PINK))
    assert (found["changed"], found["kept"]) == (1.0, 0.0)
    assert found["psnr_target"] is not None
    assert found["psnr_target"] < HIGHEST_PSNR
    assert numbers(background, square("red", PINK))["changed"] == 0.0
    # The colour of the border alone decides.
    assert numbers(background, square("green", BLUE))["changed"] == 1.0


def test_the_border_is_the_highest_and_the_lowest_rows(concept: Aim, numbers: Numbers) -> None:
    def banded(rows: int) -> Painter:
        def picture() -> Image.Image:
            values = np.array(RESULT())
            values[:rows] = values[-rows:] = PINK
            return Image.fromarray(values)

        return picture

    # Of 128 rows the border is the first four and the last four.
    assert [numbers(concept, banded(rows))["kept"] for rows in (1, 3, 8)] == [1.0, 0.0, 0.0]

    def sided() -> Image.Image:
        values = np.array(RESULT())
        values[:, :8] = values[:, -8:] = PINK
        return Image.fromarray(values)

    assert numbers(concept, sided)["kept"] == 1.0


def test_the_mask_is_where_source_and_result_differ(concept: Aim, background: Aim) -> None:
    inside = torch.zeros(128, 128, dtype=torch.bool)
    inside[32:96, 32:96] = True
    assert torch.equal(concept.mask, inside)
    assert torch.equal(background.mask, ~inside)


def test_the_edit_is_looked_at_as_an_image_of_8_bits(editor: Editor, concept: Aim) -> None:
    drawn = pixels(RESULT) + 0.4 / 255
    assert concept.numbers(drawn, editor.encode(pixels(RESULT))[0])["psnr_target"] == HIGHEST_PSNR


def test_pictures_are_fitted_to_the_model(editor: Editor) -> None:
    large = Truth("concept", square("green", side=256), (square("red", side=256),), BORDERS)
    aim = Aim.of(editor, large, pixels(SOURCE))
    assert aim.result.shape == (1, 3, *editor.size)
    assert aim.candidates.shape[0] == 2


def test_an_aim_for_each_target(editor: Editor) -> None:
    found = aims(editor, {"a green square": CONCEPT, "a blue background": BACKGROUND}, pixels(SOURCE))
    assert {target: len(aim.candidates) for target, aim in found.items()} == {
        "a green square": 3,
        "a blue background": 1,
    }
    assert aims(editor, {}, pixels(SOURCE)) == {}


def test_the_digest_is_that_of_all_pictures() -> None:
    truths = {
        "one": CONCEPT,
        "another result": Truth("concept", OTHER, (SOURCE, OTHER), BORDERS),
        "another order": Truth("concept", RESULT, (OTHER, SOURCE), BORDERS),
        "fewer": Truth("concept", RESULT, (SOURCE,), BORDERS),
        "other borders": Truth("concept", RESULT, (SOURCE, OTHER), BORDERS[::-1]),
    }
    assert len({digest({"target": truth}) for truth in truths.values()}) == len(truths)
    assert digest({"a": CONCEPT, "b": BACKGROUND}) == digest({"b": BACKGROUND, "a": CONCEPT})
