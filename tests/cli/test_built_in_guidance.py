"""The command on a model with guidance built in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tiny_pipelines import BUILDERS

Renoise = Callable[..., Any]
EDIT = ("edit", "p.png", "-p", "a lion", "-t", "a tiger", "--fit", "keep", "--steps", "2", "--device", "cpu")


@pytest.fixture
def flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> str:
    """The model's folder, in the folder to work in, beside an image."""
    monkeypatch.chdir(tmp_path)
    pipe: Any = BUILDERS["flux-dev"]()
    pipe.save_pretrained("flux")
    picture.save("p.png")
    return "flux"


def test_it_is_edited_at_its_own_guidance(renoise: Renoise, flux: str) -> None:
    document = renoise(*EDIT, "-m", flux, "-o", "out.png", "--json").json
    assert (document["guidance"], document["true_cfg"], document["inversion_guidance"]) == (3.5, 1.0, 1.0)
    assert document["network_passes"]["editing"] == 2
    assert Image.open("out.png").size == (100, 80)


def test_true_guidance_costs_a_second_pass(renoise: Renoise, flux: str) -> None:
    renoise(*EDIT, "-m", flux, "-o", "plain.png")
    document = renoise(*EDIT, "-m", flux, "-o", "out.png", "--json", "--true-cfg", "4", "--negative-source").json
    assert (document["true_cfg"], document["negative_prompt"]) == (4.0, "a lion")
    assert document["network_passes"]["editing"] == 4
    assert Path("out.png").read_bytes() != Path("plain.png").read_bytes()


def test_true_guidance_of_other_models_is_refused(renoise: Renoise, flux: str, data: Path) -> None:
    outcome = renoise(*EDIT, "-m", data / "tiny-sd", "-o", "out.png", "--preset", "paper", "--true-cfg", "4")
    assert outcome.code == 1
    assert "--guidance" in outcome.error
    assert not Path("out.png").exists()
