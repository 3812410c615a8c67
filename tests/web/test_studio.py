"""The work behind the page, on a bundled model: passes are counted, and equal requests give equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from renoise import ConfigError
from renoise.web.forms import EditRequest, Source, read_edit, read_source
from renoise.web.happenings import Edited, Ended, Inverted, Pass, Remark
from renoise.web.limits import Limits
from renoise.web.studio import Studio
from web.conftest import told

Make = Callable[..., EditRequest]


def test_the_second_edit_of_an_image_costs_no_inversion_pass(studio: Studio, make_request: Make) -> None:
    first = list(studio.edit(make_request()).happenings())
    second = list(studio.edit(make_request(targets="a green square")).happenings())
    found = [next(one for one in run if isinstance(one, Inverted)) for run in (first, second)]
    assert [(one.passes, one.before) for one in found] == [(4, False), (0, True)]
    assert [run[-1].passes for run in (first, second) if isinstance(run[-1], Ended)] == [8, 4]
    assert not [one for one in second if isinstance(one, Pass) and one.work == "inverting"]


def test_another_prompt_seed_or_setting_is_inverted_anew(studio: Studio, drawing: Image.Image) -> None:
    values: list[dict[str, Any]] = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a", "seed": 1}]
    values += [{"prompt": "a", "steps": 2}, {"prompt": "a", "fit": "stretch"}]
    for own in values:
        source = read_source(drawing, None, "red.png", own, Limits())
        (inverted,) = told(studio.invert(source), Inverted)
        assert not inverted.before
    assert len(studio.inversions) == len(values)


def test_the_same_request_gives_the_same_bytes(studio: Studio, make_request: Make) -> None:
    fresh = Studio(studio.editor, studio.limits)
    images = [told(one.edit(make_request()), Edited)[0].image.tobytes() for one in (studio, studio, fresh)]
    assert len(set(images)) == 1


def test_stop_ends_within_one_pass_and_keeps_the_edits_that_are_done(studio: Studio, make_request: Make) -> None:
    job = studio.edit(make_request(targets="a blue square\na green square\na black square"))
    after: list[Any] = []
    done: list[Edited] = []
    for one in job.happenings():
        if isinstance(one, Edited):
            done.append(one)
            job.stop()
        elif done:
            after.append(one)
    assert len(done) == 1
    assert sum(isinstance(one, Pass) for one in after) <= 1
    assert isinstance(after[-1], Ended)
    assert after[-1].stopped
    again = list(studio.edit(make_request()).happenings())  # the editor works as before
    assert isinstance(again[-1], Ended)
    assert not again[-1].stopped


def test_every_pass_comes_with_a_small_preview(studio: Studio, make_request: Make) -> None:
    passes = told(studio.edit(make_request()), Pass)
    assert {one.work for one in passes} == {"inverting", "editing"}
    assert all(one.preview is not None and max(one.preview.size) <= 160 for one in passes)


def test_an_inversion_takes_the_place_of_an_image(studio: Studio, make_request: Make) -> None:
    (direct,) = told(studio.edit(make_request()), Edited)
    (inverted,) = told(studio.edit(make_request()), Inverted)
    source = read_source(None, inverted.inversion, "red.safetensors", {}, Limits())
    run = list(studio.edit(make_request(source)).happenings())
    (again,) = [one for one in run if isinstance(one, Edited)]
    assert again.image.tobytes() == direct.image.tobytes()
    assert [one.passes for one in run if isinstance(one, Ended)] == [4]


def test_under_a_mask_the_rest_keeps_its_pixels(studio: Studio, make_request: Make, drawing: Image.Image) -> None:
    mask = Image.new("L", drawing.size)
    mask.paste(255, (0, 0, 64, 128))
    (edited,) = told(studio.edit(make_request(mask=mask)), Edited)
    right = (64, 0, 128, 128)
    assert edited.image.crop(right).tobytes() == drawing.crop(right).tobytes()
    assert edited.changed is not None
    assert edited.changed.crop(right).getextrema() == (0, 0)


def test_a_mask_of_another_shape_is_refused_before_the_network_works(studio: Studio, make_request: Make) -> None:
    happened: list[Any] = []
    with pytest.raises(ConfigError, match="the mask is 10 x 90"):
        happened += studio.edit(make_request(mask=Image.new("L", (10, 90), 255))).happenings()
    assert happened == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"negative_prompt": "blur"}, "negative_prompt has no effect with a guidance scale of 1"),
        ({"negative_prompt": "blur", "guidance": 1.0}, "negative_prompt has no effect"),
    ],
)
def test_a_request_that_cannot_be_met_does_not_wait(
    studio: Studio, make_request: Make, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        studio.edit(make_request(**values))


def test_an_image_in_its_own_size_is_bounded(studio: Studio) -> None:
    large = read_source(Image.new("RGB", (2000, 1000)), None, "large.png", {"fit": "keep"}, Limits())
    with pytest.raises(ConfigError, match="at most 65,536 are edited in their own size"):
        studio.invert(large)


def test_an_inversion_is_bounded_as_an_image_in_its_own_size_is(studio: Studio) -> None:
    config = studio.editor.config(num_steps=1)
    large = studio.editor.invert(Image.new("RGB", (264, 256)), "red", config=config, fit="keep")
    source = read_source(None, large, "large.safetensors", {}, Limits())
    for ask in (studio.invert, lambda source: studio.edit(read_edit(source, None, {"targets": "a"}, Limits()))):
        with pytest.raises(ConfigError, match="264 x 256 pixels, and at most 65,536 are edited in their own size"):
            ask(source)


def test_warnings_of_the_library_are_told(studio: Studio, drawing: Image.Image, make_request: Make) -> None:
    source = read_source(drawing, None, "red.png", {"prompt": "(a red square:1.3)"}, Limits())
    assert any("(a red square:1.3)" in one.text or "weight" in one.text for one in told(studio.invert(source), Remark))


def test_the_cache_stays_within_its_bytes(studio: Studio, source: Source, drawing: Image.Image) -> None:
    (one,) = told(studio.invert(source), Inverted)
    small = Studio(studio.editor, Limits(cache_bytes=2 * one.known.nbytes))
    for seed in range(5):
        own = read_source(drawing, None, "red.png", {"prompt": "a red square", "seed": seed}, Limits())
        list(small.invert(own).happenings())
    assert len(small.inversions) == 2
    assert small.inversions.nbytes <= 2 * one.known.nbytes


def test_without_knobs_an_edit_is_what_the_library_makes_of_it(
    studio: Studio, drawing: Image.Image, make_request: Make
) -> None:
    values = {"prompt": "a red square", "preset": "fast"}
    source = read_source(drawing, None, "red.png", values, Limits())
    request = make_request(source, strength=None)
    assert studio.is_plain(request)
    (edited,) = told(studio.edit(request), Edited)
    inversion = studio.editor.invert(drawing, "a red square", config=studio.editor.config("fast"))
    assert edited.image.tobytes() == studio.editor.edit(inversion, "a blue square").tobytes()
    assert edited.changed is None
    assert not studio.is_plain(make_request(source))
    assert not studio.is_plain(make_request(strength=None))


def test_noise_that_was_solved_for_is_measured_by_itself(studio: Studio, drawing: Image.Image) -> None:
    source = read_source(drawing, None, "red.png", {"prompt": "a red square", "preset": "fast"}, Limits())
    run = list(studio.invert(source).happenings())
    (inverted,) = [one for one in run if isinstance(one, Inverted)]
    quality = inverted.known.quality
    assert quality is not None
    assert quality.round_trip is not None
    assert 20.0 < quality.round_trip < 100.0
    assert [one.passes - inverted.passes for one in run if isinstance(one, Ended)] == [4]
