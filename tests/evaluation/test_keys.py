"""Keys of measurements: what decides them, and that those of earlier versions stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from renoise import Editor
from renoise.evaluation.keys import decided, differences, keyed, model_facts
from renoise.evaluation.measurement import Measurement
from renoise.schedulers import describe

Make = Callable[..., Measurement]


@pytest.fixture
def m(make_measurement: Make) -> Measurement:
    scheduler = {"class": "DDIMScheduler", "config": {"beta_start": 0.00085}}
    return make_measurement(model_hash="abc", scheduler=scheduler, settings={"kind": "renoise"}, image_hash="def")


def test_the_key_is_that_of_earlier_versions(m: Measurement) -> None:
    """A folder of results is worth nothing once its keys change."""
    assert m.key == "c694d114978432f72e19f700"
    edit = keyed(replace(m, target="a tiger", guidance=1.5, versions={"clip": "c", "dino": "d", "torch": "2"}))
    assert edit.key == "ab70fe46618f8d787324e32c"


@pytest.mark.parametrize(
    "change",
    [
        {"image": "other.png"},
        {"data": "elsewhere"},
        {"model": "mini-turbo"},
        {"versions": {"torch": "9"}},
        {"row": 3},
        {"seed": 1},
        {"psnr": 1.0},
        {"edit_type": "add object"},
        {"index": 4},
    ],
)
def test_names_versions_and_numbers_decide_nothing(m: Measurement, change: dict[str, Any]) -> None:
    assert keyed(replace(m, **change)).key == m.key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_hash": "x"}, "the model, whose weights are others"),
        ({"model_hash": "x", "dtype": "float16"}, "the networks' type (float16; it was float32)"),
        (
            {"scheduler": {"class": "LCMScheduler"}},
            "the model's sampler (LCMScheduler; it was DDIMScheduler) or its settings",
        ),
        ({"image_hash": "x"}, "the image '00-lion.png' or its mask"),
        ({"prompt": "x"}, "the prompt"),
        ({"settings": {}}, "the method's settings"),
    ],
)
def test_what_decides_a_key_is_named_where_it_differs(m: Measurement, change: dict[str, Any], words: str) -> None:
    other = replace(m, **change)
    assert keyed(other).key != m.key
    assert differences(m, other) == [words]


def test_an_image_that_could_not_be_read_has_only_its_name(m: Measurement) -> None:
    assert decided(replace(m, image_hash=""))["picture"] == {"data": "mini-heldout", "name": "00-lion.png"}


def test_what_is_kept_of_a_model_is_that_of_an_editors_model(editor: Editor) -> None:
    facts = model_facts(editor)
    assert (facts["dtype"], facts["device"]) == ("float32", "cpu")
    assert facts["scheduler"] == describe(editor.pipe.scheduler)
    assert len(facts["model_hash"]) == 24
    assert model_facts(editor) == facts
