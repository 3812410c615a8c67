from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from renoise import ConfigError
from renoise.jobs.columns import Columns
from renoise.jobs.settings import JobSettings, Running, divided
from renoise.named_presets import NAMED, held
from written import folder_of


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "what edits shall show is said by to for all rows alike, or by targets_column"),
        ({"to": "a dog", "targets_column": "edits"}, "give one of them"),
        ({"to": ["a dog", ""]}, "to holds an empty text"),
        ({"to": 3}, "to must be a text or a list of texts"),
        ({"to": "a", "strength": 1.5}, r"strength must be in \[0, 1\]"),
        ({"to": "a", "batch": 0}, "batch must be a whole number of at least 1"),
        ({"to": "a", "rows_per_block": True}, "rows_per_block must be a whole number"),
        ({"to": "a", "threads": 0}, "threads must be a whole number of at least 1"),
        ({"to": "a", "seed": -1}, "seed must be a whole number of at least 0"),
        ({"to": "a", "fit": "squeeze"}, "the fit 'squeeze' is unknown"),
        ({"to": "a", "keep": "all"}, "keep must be one of auto, nothing"),
        ({"to": "a", "prompt": "\ud800"}, "prompt .* holds a lone surrogate"),
        ({"to": "a", "model": 7}, "model must be a text, not 7"),
        ({"to": "a", "preset": "sdxl-lightning-5"}, "preset 'sdxl-lightning-5' is unknown; .* sdxl-lightning-"),
        ({"to": "a", "preset": "sdxl-lightning-4:best"}, "preset 'sdxl-lightning-4:best' is unknown"),
    ],
)
def test_settings_out_of_their_ranges_are_refused(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        JobSettings(**given)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"engine": "spark"}, "engine must be one of local, ray"),
        ({"workers": 2}, 'workers has no effect in this process alone.*engine="ray"'),
        ({"gpus_per_worker": 0.5}, "gpus_per_worker has no effect"),
        ({"address": "auto"}, "address has no effect"),
        ({"engine": "ray", "gpus_per_worker": 1.5}, "at most 1 or a whole number of GPUs, not 1.5"),
        ({"engine": "ray", "workers": 0}, "workers must be a whole number of at least 1"),
        ({"max_failures": 0}, "max_failures must be a whole number of at least 1"),
    ],
)
def test_ways_to_run_that_make_no_sense_are_refused(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Running(**given)


def test_settings_come_back_from_their_record() -> None:
    settings = JobSettings(to=["a dog", "a fox"], lora=["a:0.5"], timesteps=[999, 499.5], strength=0.5, quality=False)
    assert JobSettings.from_record(settings.to_record()) == settings


def test_unknown_settings_of_a_record_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not know"):
        JobSettings.from_record({**JobSettings(to="a").to_record(), "speed": 11})


def test_arguments_are_divided_by_what_they_decide() -> None:
    assert divided({"to": "a", "workers": 2}) == ({"to": "a"}, {"workers": 2})
    with pytest.raises(ConfigError, match="a job has no setting 'colour'; use one of address"):
        divided({"colour": 1})
    assert not {field.name for field in fields(JobSettings)} & {field.name for field in fields(Running)}


def test_columns_follow_from_settings() -> None:
    settings = JobSettings(targets_column="edits", image_column="photo", id_column="key", prompt="a cat")
    assert settings.columns == Columns("photo", None, "key", "edits", "a cat", ())


@pytest.mark.parametrize(
    ("preset", "model", "steps"),
    [(None, None, 20), ("exact", None, 50), ("dmd2-4", "dmd2-4", 4), ("sdxl-lightning-8:exact", "sdxl-lightning-8", 8)],
)
def test_a_preset_says_what_the_model_is_and_how_it_inverts(
    tmp_path_factory: pytest.TempPathFactory, preset: str | None, model: str | None, steps: int
) -> None:
    folder = folder_of("sdxl", tmp_path_factory.mktemp("tiny"))
    settings = JobSettings(to="a dog", model=str(folder), device="cpu", preset=preset)
    editor = settings.editor()
    assert held(editor.pipe) == (None if model is None else NAMED[model])
    assert settings.config(editor).num_steps == steps
    assert JobSettings.from_record(settings.to_record()) == settings
