"""A name points to what is here, or has the form of a hub name, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from renoise import ModelError
from renoise.loading.places import place_of


def test_a_name_points_to_what_is_here_or_to_the_hub(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert place_of("model", str(tmp_path)) == tmp_path
    assert place_of("model", str(tmp_path / "file")) == tmp_path / "file"
    assert place_of("model", "me/model") is None


@pytest.mark.parametrize("name", ["", "nowhere", "./nowhere", "a/b/c", "~nobody-here/x", "x" * 5000])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"LoRA '.* is not known") as caught:
        place_of("LoRA", name)
    assert caught.value.argument == "lora"
