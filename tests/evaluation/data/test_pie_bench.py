"""PIE-Bench: its prompts, masks and types of edits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_sets import refusal, touch, write_json
from renoise.evaluation import data
from renoise.evaluation.data.pie_bench import decode_mask

KINDS = [
    "random",
    "change object",
    "add object",
    "delete object",
    "change attribute content",
    "change attribute pose",
    "change attribute color",
    "change attribute material",
    "change background",
    "change style",
]


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "image_path": "0_random/a.jpg",
        "original_prompt": "a slanted  mountain bicycle",
        "editing_prompt": "a slanted [rusty] mountain [bicycle ]",
        "editing_instruction": "make it rusty",
        "editing_type_id": "0",
        "blended_word": "bicycle bicycle",
        "mask": [513, 2],
        **changes,
    }


def test_pie_bench(tmp_path: Path) -> None:
    mapping = {f"{9 - n}": entry(editing_type_id=str(n), image_path=f"{n}_x/{n}.jpg") for n in range(10)}
    write_json(tmp_path / "mapping_file.json", mapping)
    touch(tmp_path / "annotation_images", *(f"{n}_x/{n}.jpg" for n in range(10)))
    examples = data.load(tmp_path)
    assert [e.name for e in examples] == [str(n) for n in range(9, -1, -1)]
    assert [e.edit_type for e in examples] == KINDS
    first = examples[0]
    assert first.image == tmp_path / "annotation_images/0_x/0.jpg"
    assert first.prompt == "a slanted mountain bicycle"
    assert first.targets == ("a slanted rusty mountain bicycle",)
    assert first.mask is not None
    assert first.mask.shape == (512, 512)
    assert first.mask.dtype == bool
    assert data.load(tmp_path, limit=3) == examples[:3]


def test_a_mask_is_its_runs_in_row_order_and_the_border() -> None:
    mask = decode_mask([512 * 100 + 510, 4, 512 * 200, 1024], "the mask")
    expected = np.zeros((512, 512), dtype=bool)
    expected[100, 510:] = expected[101, :2] = True
    expected[200:202] = True
    assert np.array_equal(mask[1:-1, 1:-1], expected[1:-1, 1:-1])
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert edge.all()


def test_masks_of_nothing_and_of_everything() -> None:
    assert int(decode_mask([], "the mask").sum()) == 4 * 511
    assert decode_mask([0, 512 * 512], "the mask").all()
    assert decode_mask([512 * 511 - 1, 10**6], "the mask").sum() == decode_mask([512 * 511 - 1, 1], "the mask").sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": [0, 1, 2]}, "entry '7', the mask must be pairs of start and length, and has 3 numbers"),
        ({"mask": [512 * 512, 2]}, "entry '7', the mask has a run from 262144 of length 2, beyond"),
        ({"mask": [10**30, 1]}, "beyond the 512 x 512 pixels"),
        ({"mask": [-1, 2]}, "entry '7': Expected `int` >= 0 - at `$.mask[0]`; get it from"),
        ({"mask": [0.5, 2]}, "Expected `int`, got `float` - at `$.mask[0]`"),
        ({"mask": [True, 2]}, "Expected `int`, got `bool` - at `$.mask[0]`"),
        ({"mask": "0 2"}, "Expected `array`, got `str` - at `$.mask`"),
        ({"mask": None}, "Expected `array`, got `null` - at `$.mask`"),
        ({"editing_type_id": "10"}, "'editing_type_id' must be 0 to 9, not '10'"),
        ({"editing_type_id": 10}, "'editing_type_id' must be 0 to 9, not 10"),
        ({"editing_type_id": None}, "Expected `int | str`, got `null` - at `$.editing_type_id`"),
        ({"original_prompt": None}, "entry '7': Expected `str`, got `null` - at `$.original_prompt`"),
        ({"original_prompt": " "}, "entry '7', 'original_prompt' must be text"),
        ({"editing_prompt": "[]"}, "entry '7', 'editing_prompt' must be text"),
        ({"image_path": 3}, "entry '7': Expected `str`, got `int` - at `$.image_path`"),
        ({"image_path": ""}, "entry '7': Expected `str` of length >= 1 - at `$.image_path`"),
    ],
)
def test_pie_bench_entries_that_are_wrong_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_json(tmp_path / "mapping_file.json", {"6": entry(image_path="b.jpg"), "7": entry(**changes)})
    touch(tmp_path / "annotation_images", "0_random/a.jpg", "b.jpg")
    assert message in refusal(tmp_path)
    assert len(data.load(tmp_path, limit=1)) == 1


def test_pie_bench_that_is_wrong_as_a_whole_is_refused(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping_file.json"
    write_json(mapping, {"1": entry()})
    message = refusal(tmp_path)
    assert "1 image is missing" in message
    assert "https://github.com/cure-lab/PnPInversion" in message
    write_json(mapping, [entry()])
    assert "must hold an object of entries by id" in refusal(tmp_path)
    write_json(mapping, {"1": 7})
    assert "entry '1': Expected `object`, got `int`" in refusal(tmp_path)
    write_json(mapping, {})
    assert "holds no images" in refusal(tmp_path)
    mapping.write_text('{"1": {},\n"1": {}}')
    assert "the key '1' occurs more than once" in refusal(tmp_path)
    mapping.write_text('{"1":\n}')
    assert "at line 2, column 1" in refusal(tmp_path)
