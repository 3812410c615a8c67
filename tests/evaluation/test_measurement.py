"""A measurement as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from renoise.evaluation.keys import keyed
from renoise.evaluation.measurement import Measurement

Make = Callable[..., Measurement]


def test_a_line_comes_back_as_it_was(make_measurement: Make, make_failure: Make) -> None:
    for m in (
        make_measurement(),
        make_failure(),
        make_measurement(residual_history=((0.1, 0.2), (0.3,)), timesteps=(999.0, 1.0), target="x", index=3),
        make_measurement(psnr=30, scheduler={"class": "DDIMScheduler", "config": {"beta_start": 1e-4}}),
    ):
        assert Measurement.from_line(m.as_line()) == m


def test_a_whole_number_for_the_guidance_keeps_its_key(make_measurement: Make) -> None:
    m = make_measurement(target="x", guidance=3)
    assert keyed(Measurement.from_line(m.as_line())).key == m.key


def test_fields_of_other_versions(make_measurement: Make) -> None:
    m = make_measurement()
    record = json.loads(m.as_line()) | {"of a later version": 1}
    for name in ("index", "model_hash", "scheduler", "picture_hash"):
        del record[name]
    expected = replace(m, index=None, model_hash="", scheduler={}, image_hash="")
    assert Measurement.from_line(json.dumps(record)) == expected


def test_the_file_has_the_names_that_it_always_had(make_measurement: Make) -> None:
    record = json.loads(make_measurement(target="x", edit_type="add object").as_line())
    assert (record["method"], record["picture"], record["kind"]) == ("sampler reversing", "00-lion.png", "add object")
    assert record["picture_hash"]
    assert not {"label", "image", "edit_type", "image_hash"} & set(record)
    assert list(record)[:9] == ["key", "run", "method", "row", "model", "dtype", "device", "data", "picture"]
