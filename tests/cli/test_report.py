"""What a run says in the end: numbers that JSON and people can read."""

from __future__ import annotations

import json

from renoise.cli.report import as_json, decibels


def test_json_has_no_infinities() -> None:
    text = as_json({"psnr": float("inf"), "list": [float("nan"), 1.5], "path": "a"})
    assert json.loads(text) == {"psnr": None, "list": [None, 1.5], "path": "a"}


def test_decibels() -> None:
    assert decibels(float("inf")) == "infinite"
