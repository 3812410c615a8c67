from __future__ import annotations

import pytest

from renoise import ConfigError, ImageError
from renoise.errors import Argument
from renoise.web import sentences
from renoise.web.forms import Source
from renoise.web.happenings import Ended, Inverted, Pass, Waiting
from renoise.web.studio import Studio
from web.conftest import told


def test_errors_use_the_words_of_the_page() -> None:
    error = ConfigError(Argument("num_steps"), " must be at least 1, not 0", remedy=("give ", Argument("seed", 4)))
    assert sentences.failure(error) == "The number of steps must be at least 1, not 0; give the seed 4."
    assert sentences.failure(ImageError("cat.png is empty")) == "cat.png is empty."


def test_what_nobody_expected_tells_nothing_of_the_machine() -> None:
    text = sentences.failure(FileNotFoundError(2, "No such file", "/root/secret"))
    assert "secret" not in text
    assert "FileNotFoundError" in text
    assert "memory" in sentences.failure(MemoryError())


@pytest.mark.parametrize(("before", "text"), [(1, "1 request comes first"), (3, "3 requests come first")])
def test_those_who_wait_are_told_how_many_come_first(before: int, text: str) -> None:
    assert sentences.progress(Waiting(before)).endswith(text)


def test_a_pass_is_told_with_its_timestep() -> None:
    text = sentences.progress(Pass("inverting", 4, 4, 999.0, 4, 4))
    assert text == "Inverting: network pass 4 of at most 4, timestep 999 (step 4 of 4)"


def test_the_quality_of_each_preset_is_said_plainly(studio: Studio, source: Source) -> None:
    (first,) = told(studio.invert(source), Inverted)
    text = sentences.quality(first)
    assert text.startswith("Inverted in 4 network passes and ")
    assert "dB against the image" in text
    assert text.endswith("nothing has to converge.")
    (second,) = told(studio.invert(source), Inverted)
    assert sentences.quality(second).startswith("Inverted before: 0 passes.")


def test_the_cost_is_one_sentence() -> None:
    assert sentences.cost(Ended(False, 1.0, 1), 1) == "1 edit. 1 network pass and 1.0 s in all."


def test_arguments_that_the_page_lacks_have_the_names_that_others_know() -> None:
    error = ConfigError(Argument("edit_data"), " is none", remedy=Argument("true_cfg_scale"))
    assert sentences.failure(error).endswith(" is none; the option --true-cfg of renoise edit.")
    error = ConfigError(Argument("edit_data"), " is none", remedy=Argument("eta", 0.5))
    assert sentences.failure(error) == "The option --edit-data of renoise invert is none; eta=0.5."
