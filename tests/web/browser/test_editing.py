"""What a visitor does with the page, in a real browser: edit, compare, take away, go on, stop."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from renoise import Inversion
from renoise.cli.entry import run
from renoise.web.examples import bundled
from renoise.web.takeaway import settings_in
from web.browser.serving import Served
from web.browser.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.web

Open = Callable[..., "Page"]
EXAMPLE = bundled()[1]
SOURCE, (TARGET, OTHER) = EXAMPLE.prompt, EXAMPLE.targets


@pytest.fixture
def visitor(served: Served, open_page: Open) -> Visitor:
    return Visitor(open_page(served.url))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image of a visitor's own."""
    path = tmp_path / "picture.png"
    with Image.open(EXAMPLE.path) as image:
        image.convert("RGB").save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_an_example_is_edited_and_compared(visitor: Visitor, screenshot: Callable[[Page, str], Path]) -> None:
    visitor.pick_example(1)
    targets = visitor.part("target-prompts").locator("textarea").input_value().splitlines()
    assert len(targets) == 2
    said = visitor.edit()
    assert said.startswith("2 edits. 12 network passes and ")
    assert visitor.quality.startswith("Inverted in 4 network passes and ")
    assert " dB against the image" in visitor.quality
    assert [caption.partition(". ")[2] for caption in visitor.captions] == targets
    screenshot(visitor.page, "example-edited")
    before, after = visitor.compared
    assert before.endswith("-original.png")
    assert after.startswith("02-")
    visitor.choose("compare-with", "1. ")
    visitor.page.wait_for_function(
        "() => [...document.querySelectorAll('#compare-slider img')].some(one => one.src.includes('/01-'))"
    )
    visitor.choose("compare-with", "reconstruction")
    visitor.page.wait_for_function(
        "() => [...document.querySelectorAll('#compare-slider img')].some(one => /-reconstruction/.test(one.src))"
    )
    assert visitor.compared[0] == before


def test_the_slider_shows_more_of_the_one_or_of_the_other(visitor: Visitor) -> None:
    visitor.pick_example()
    visitor.edit()
    slider = visitor.part("compare-slider")
    handle = slider.locator(".inner")
    handle.scroll_into_view_if_needed()

    def share() -> float:
        """Return how far the handle is to the right, as a share of the image."""
        image, grip = slider.locator("img").first.bounding_box(), handle.bounding_box()
        assert image is not None
        assert grip is not None
        return float((grip["x"] + grip["width"] / 2 - image["x"]) / image["width"])

    assert abs(share() - 0.5) < 0.05
    clip = "all => all.map(one => getComputedStyle(one).clipPath).join()"
    middle = slider.locator("img").evaluate_all(clip)
    grip, image = handle.bounding_box(), slider.locator("img").first.bounding_box()
    assert grip is not None
    assert image is not None
    visitor.page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    visitor.page.mouse.down()
    visitor.page.mouse.move(image["x"] + 0.8 * image["width"], grip["y"], steps=8)
    visitor.page.mouse.up()
    assert 0.7 < share() < 0.9
    assert slider.locator("img").evaluate_all(clip) != middle
    # The same without a mouse: a field beside the slider.
    visitor.part("divider").locator("input[type=range]").fill("20")
    visitor.page.wait_for_function("""() => {
        const image = document.querySelector('#compare-slider img').getBoundingClientRect();
        const grip = document.querySelector('#compare-slider .inner').getBoundingClientRect();
        return Math.abs((grip.left + grip.width / 2 - image.left) / image.width - 0.2) < 0.05;
    }""")


def test_a_second_edit_costs_no_pass_to_invert(visitor: Visitor, picture: Path) -> None:
    visitor.upload("source-image", picture)
    visitor.say(SOURCE, TARGET)
    visitor.advanced(seed=7)
    assert visitor.edit().startswith("1 edit. 8 network passes")
    assert visitor.quality.startswith("Inverted in 4 network passes")
    visitor.say(None, OTHER)
    assert visitor.edit().startswith("1 edit. 4 network passes")
    assert visitor.quality.startswith("Inverted before: 0 passes.")
    assert [caption.partition(". ")[2] for caption in visitor.captions] == [OTHER]


def test_what_is_taken_away_works_without_the_page(
    visitor: Visitor, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor.upload("source-image", picture)
    visitor.say(SOURCE, TARGET)
    visitor.choose("preset", "balanced")
    visitor.advanced()  # only to look: what is not filled in stays as the preset has it
    visitor.edit()
    edit = visitor.download("01-", tmp_path)
    settings = settings_in(edit.read_bytes())
    assert settings["target"] == TARGET
    assert settings["prompt"] == SOURCE
    inversion = Inversion.load(visitor.download(".safetensors", tmp_path))
    assert inversion.prompts == [SOURCE]
    assert inversion.network_passes > 4
    # The command line that the page shows makes the same image.
    command = visitor.part("command-line").locator("textarea").input_value()
    assert "--steps" not in command
    assert "--renoise" not in command
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    assert (pixels(tmp_path / "edit.png") == pixels(edit)).all()


def test_an_inversion_takes_the_place_of_an_image(visitor: Visitor, picture: Path, tmp_path: Path) -> None:
    visitor.upload("source-image", picture)
    visitor.say(SOURCE, TARGET)
    visitor.edit()
    first = visitor.download("01-", tmp_path)
    file = visitor.download(".safetensors", tmp_path)
    visitor.page.reload()
    again = Visitor(visitor.page)
    again.part("inversion-panel").locator("button").first.click()
    again.upload("inversion-file", file)
    again.say(None, TARGET)
    assert again.edit().startswith("1 edit. 4 network passes")
    assert "0 passes" in again.quality
    (tmp_path / "again").mkdir()
    assert (pixels(again.download("01-", tmp_path / "again")) == pixels(first)).all()


def test_only_what_is_painted_changes(
    visitor: Visitor, picture: Path, tmp_path: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    visitor.upload("source-image", picture)
    # Another thing on another background: whatever may change does.
    visitor.say(SOURCE, TARGET.partition(", ")[0] + ", " + OTHER.partition(", ")[2])
    visitor.choose("keep", "All but what I paint")
    canvas = visitor.part("mask-paint").locator("canvas").first
    canvas.wait_for()
    visitor.page.wait_for_timeout(1500)  # the image is put on the canvas
    screenshot(visitor.page, "to-paint-on")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    visitor.page.mouse.move(box["x"] + box["width"] / 2 - 40, middle)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + box["width"] / 2 + 40, middle, steps=10)
    visitor.page.mouse.up()
    screenshot(visitor.page, "painted")
    assert visitor.edit().startswith("1 edit.")
    screenshot(visitor.page, "painted-edited")
    changed = np.abs(pixels(visitor.download("01-", tmp_path)) - pixels(picture)).max(axis=2) > 0
    mask = pixels(visitor.download("mask", tmp_path)).max(axis=2) > 0
    assert 0.005 < changed.mean() < 0.5
    assert not changed[~mask].any()
    assert 0.005 < mask.mean() < 0.5


def test_stop_ends_within_one_network_pass_and_keeps_what_is_done(
    served: Served, visitor: Visitor, screenshot: Callable[[Page, str], Path]
) -> None:
    visitor.pick_example(4)
    # So slow that a network pass takes much longer than the way to the page and back.
    with served.slowed(0.8):
        visitor.begin()
        visitor.page.wait_for_function("/^Editing 2/.test(document.querySelector('#status-line').innerText)")
        screenshot(visitor.page, "working")
        # Pressed as soon as the page counts the second of the four passes of the second edit, while the third runs.
        visitor.page.wait_for_function("""() => {
            const counted = Number(document.querySelector('#progress .rn-progress').dataset.done) === 2;
            if (counted) document.querySelector('#stop-button').click();
            return counted;
        }""")
        said = visitor.end()
    assert said.startswith("1 edit. Stopped. 11 network passes and "), "4 to invert, 4 of the first edit, 2 + 1"
    assert len(visitor.captions) == 1
    screenshot(visitor.page, "stopped")
    # The page is ready for the next request.
    assert visitor.edit().startswith("2 edits. 8 network passes")


def test_a_broken_upload_is_told_in_the_librarys_words(
    visitor: Visitor, tmp_path: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(200)))
    visitor.upload("source-image", broken)
    visitor.say(SOURCE, TARGET)
    visitor.begin()
    visitor.page.locator("[data-testid=toast-body]").first.wait_for()
    screenshot(visitor.page, "broken-upload")
    said = visitor.end()
    assert "image" in said
    assert visitor.part("status-line").locator(".rn-failed").count() == 1
    toast = visitor.page.locator("[data-testid=toast-body]").first.inner_text()
    assert said in toast
    assert "Traceback" not in visitor.page.content()


def test_a_name_out_of_a_strangers_file_is_text(visitor: Visitor, tmp_path: Path) -> None:
    """An image that such a name held would be fetched, which tells others who looks at the page."""
    visitor.pick_example()
    visitor.begin("reconstruct-button")
    visitor.end()
    path = visitor.download("safetensors", tmp_path)
    with safe_open(path, "pt") as opened:
        record = json.loads(opened.metadata()["renoise.inversion"])
    record["model"] = "<img src=/hostile.png>"
    record["fingerprint"]["weights"] = [weight + 1 for weight in record["fingerprint"]["weights"]]
    hostile = tmp_path / "hostile.safetensors"
    save_file(load_file(path), hostile, {"renoise.inversion": json.dumps(record)})
    visitor.part("inversion-panel").locator("button").first.click()
    visitor.upload("inversion-file", hostile)
    visitor.begin()
    toast = visitor.page.locator("[data-testid=toast-body]").first
    toast.wait_for()
    for words in (visitor.end(), toast.inner_text()):
        assert "The inversion was made with '<img src=/hostile.png>'" in words
    assert visitor.page.locator("img[src*=hostile]").count() == 0


def test_two_pages_at_once(served: Served, open_page: Open) -> None:
    first, second = (Visitor(open_page(served.url)) for _ in range(2))
    first.pick_example(2)
    second.pick_example(5)
    first.begin()
    second.begin()
    for visitor in (second, first):
        assert visitor.end().startswith("2 edits.")
    for visitor, name in ((first, "shortcake"), (second, "swan")):
        assert name in visitor.compared[0]
        assert name in visitor.part("downloads").inner_text()


def test_nothing_but_this_machine_is_asked(served: Served, visitor: Visitor) -> None:
    """The pages' requests are watched by `open_page`; these are those of the server."""
    visitor.pick_example()
    visitor.edit()
    assert served.hosts <= {"127.0.0.1", "localhost", "::1", "None"}
