"""Where results go: file names of prompts."""

from __future__ import annotations

import pytest

from renoise.cli.destinations import slug


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A dog, noto style!", "a-dog-noto-style"),
        ("", "empty"),
        ("../../etc/passwd", "etc-passwd"),
        ("snake_case and CamelCase", "snake-case-and-camelcase"),
        ("ein Hündchen", "ein-hündchen"),
        ("一只猫", "一只猫"),
        ("🐱", "empty"),
        ("x" * 90, "x" * 56),
        ("word " * 20, "-".join(["word"] * 11)),
    ],
)
def test_slug(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected
