"""What of the libraries' talk reaches the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renoise import Editor, RenoiseWarning
from renoise.cli.silence import quiet_libraries, remarks
from renoise.errors import Argument, DrawnNoiseWarning

Renoise = Callable[..., Any]


def test_libraries_are_silenced_for_as_long_as_it_lasts(capfd: pytest.CaptureFixture[str]) -> None:
    from diffusers.utils import logging as diffusers_logging

    notes: list[str] = []
    theirs = diffusers_logging.get_logger("diffusers.anything")
    with quiet_libraries(notes.append):
        theirs.warning("something about xformers")
        theirs.warning(
            "The following part of your input was truncated because CLIP can only handle sequences up to 77 tokens: "
            "['and a\n hat']"
        )
        logging.getLogger("renoise.backbones").info("sampling with DDIM instead")
    logging.getLogger("renoise.backbones").info("nobody listens any more")
    # What an encoder leaves out the library says itself, of the model as a whole.
    assert notes == ["sampling with DDIM instead"]
    assert capfd.readouterr().err == ""


def test_a_warning_is_told_once_in_options() -> None:
    notes: list[str] = []
    with remarks(notes.append):
        for _ in range(2):
            warnings.warn(RenoiseWarning(Argument("num_steps", 4), " is few"), stacklevel=1)
    assert notes == ["--steps 4 is few"]


@pytest.mark.parametrize("debug", [False, True])
def test_warnings_of_others_are_for_debugging(debug: bool) -> None:
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as others:
        with remarks(notes.append, debug=debug):
            warnings.simplefilter("always", UserWarning) if debug else None
            warnings.warn("something about numpy", UserWarning, stacklevel=1)
        assert [str(other.message) for other in others] == (["something about numpy"] if debug else [])
    assert notes == []


def test_noises_that_had_to_be_drawn_are_said(
    on_tiny: Renoise, inverted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = Editor.edit

    def warning(*args: Any, **options: Any) -> Any:
        warnings.warn(DrawnNoiseWarning("the inversion does not hold its noises"), stacklevel=2)
        return edit(*args, **options)

    monkeypatch.setattr(Editor, "edit", warning)
    done = on_tiny("edit", inverted, "--to", "a", "--to", "b", "-o", "out/")
    assert (done.code, done.err) == (0, "renoise: the inversion does not hold its noises\n")
