"""Errors and warnings as data: each consumer phrases them for its reader."""

from __future__ import annotations

import pickle
import warnings

import pytest

from renoise import ConfigError, InversionConfig, RenoiseError, RenoiseWarning
from renoise.errors import Argument, DrawnNoiseWarning, IgnoredSettingWarning


def as_option(argument: Argument) -> str:
    return f"--{argument.name.replace('_', '-')}" + ("" if argument.value is None else f" {argument.value}")


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (Argument("num_steps"), "num_steps"),
        (Argument("num_steps", 50), "num_steps=50"),
        (Argument("strength", 0.5), "strength=0.5"),
        (Argument("fit", "crop"), 'fit="crop"'),
        (Argument("force", True), "force=True"),
    ],
)
def test_an_argument_reads_as_python(argument: Argument, text: str) -> None:
    assert str(argument) == text


def test_a_message_is_told_in_the_readers_words() -> None:
    error = ConfigError(
        Argument("num_steps", 0), " is too few", remedy=("use at least ", Argument("num_steps", 1), " or a preset")
    )
    assert str(error) == "num_steps=0 is too few; use at least num_steps=1 or a preset"
    assert error.told(as_option) == "--num-steps 0 is too few; use at least --num-steps 1 or a preset"
    assert (error.argument, error.remedy[0]) == ("num_steps", "use at least ")


def test_text_with_braces_and_percents_stays_as_it_is() -> None:
    assert str(RenoiseError("no {num_steps} of 50% %s", remedy="say {}")) == "no {num_steps} of 50% %s; say {}"


def test_an_error_without_argument_and_remedy() -> None:
    error = RenoiseError("it is broken")
    assert (str(error), error.argument, error.remedy) == ("it is broken", None, ())


def test_the_argument_can_be_named_apart() -> None:
    assert ConfigError("both were given", argument="image").argument == "image"


def test_errors_of_settings_say_what_they_are_about() -> None:
    with pytest.raises(ConfigError) as caught:
        InversionConfig(num_steps=0)
    assert caught.value.argument == "num_steps"
    assert caught.value.told(as_option) == "--num-steps must be a whole number of at least 1, not 0"


def test_errors_travel_between_processes() -> None:
    error = ConfigError(Argument("num_steps"), " must be more", remedy=Argument("num_steps", 4))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.argument, again.remedy) == (str(error), error.argument, error.remedy)
    assert again.told(as_option) == error.told(as_option)


def test_one_class_of_warnings_can_be_switched_off() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DrawnNoiseWarning)
        warnings.warn(DrawnNoiseWarning("drawn"), stacklevel=1)
        warnings.warn(IgnoredSettingWarning(Argument("guidance_scale", 3.5), " has no effect"), stacklevel=1)
    assert [str(one.message) for one in caught] == ["guidance_scale=3.5 has no effect"]
    assert isinstance(caught[0].message, RenoiseWarning)
