"""The page on a phone and on a desktop, in light and dark, and without a mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from web.browser.seen import CUT_OR_DISTORTED, HARD_TO_READ
from web.browser.serving import Served
from web.browser.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.web

Open = Callable[..., "Page"]
Screenshot = Callable[["Page", str], Path]
PHONE, DESKTOP = 390, 1280


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """An image that is four times as wide as it is high."""
    path = tmp_path / "wide.png"
    Image.linear_gradient("L").resize((480, 120)).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_all_is_whole_and_readable(
    served: Served, open_page: Open, screenshot: Screenshot, width: int, scheme: str
) -> None:
    visitor = Visitor(open_page(served.url, width=width, color_scheme=scheme))
    page, name = visitor.page, f"{'phone' if width == PHONE else 'desktop'}-{scheme}"
    for step in ("start", "edited"):
        if step == "edited":
            visitor.pick_example(4)
            visitor.advanced()
            visitor.choose("preset", "paper")
            visitor.edit()
            visitor.part("convergence-panel").locator("button").first.click()
            page.mouse.move(0, 0)
            visitor.wait_for_images()
            plot = visitor.part("convergence").locator("svg.marks").bounding_box()
            assert plot is not None
            assert plot["height"] > 200
        assert page.evaluate("document.documentElement.scrollWidth") <= width, step
        assert page.evaluate(CUT_OR_DISTORTED) == [], step
        assert page.evaluate(HARD_TO_READ) == [], step
        screenshot(page, f"{name}-{step}")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.removeprefix("rgb(").rstrip(")").split(",")[:3]) / 3
    assert (brightness < 60) if scheme == "dark" else (brightness > 200)


@pytest.mark.parametrize(("width", "columns"), [(PHONE, 1), (768, 1), (DESKTOP, 2), (1920, 2)])
def test_columns(served: Served, open_page: Open, width: int, columns: int) -> None:
    visitor = Visitor(open_page(served.url, width=width))
    asked, shown = visitor.part("asked").bounding_box(), visitor.part("shown").bounding_box()
    assert asked is not None
    assert shown is not None
    if columns == 1:
        assert shown["y"] >= asked["y"] + asked["height"]
        assert min(asked["width"], shown["width"]) > 0.8 * width
    else:
        assert abs(shown["y"] - asked["y"]) < 10
        assert shown["x"] >= asked["x"] + asked["width"]
        assert min(asked["width"], shown["width"]) > 400
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("turned", [False, True])
def test_images_of_any_shape_are_shown_whole(
    served: Served, open_page: Open, screenshot: Screenshot, wide: Path, width: int, turned: bool
) -> None:
    if turned:
        with Image.open(wide) as image:
            image.rotate(90, expand=True).save(wide)
    visitor = Visitor(open_page(served.url, width=width))
    visitor.upload("source-image", wide)
    visitor.advanced()
    visitor.choose("fit", "pad")
    visitor.say("a sky", "a sea\na field")
    visitor.edit()
    visitor.wait_for_images()
    screenshot(visitor.page, f"{'high' if turned else 'wide'}-{width}")
    assert visitor.page.evaluate(CUT_OR_DISTORTED) == []
    shapes = visitor.part("compare-slider").locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert shapes == [120 if turned else 480] * 2


def test_an_edit_without_a_mouse(served: Served, open_page: Open) -> None:
    visitor = Visitor(open_page(served.url))
    page = visitor.page

    def tab_to(selector: str) -> None:
        """Press Tab until something has the focus, and see that the focus is shown."""
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", selector
                return
        pytest.fail(f"{selector} is not reached with Tab")

    tab_to("#examples-gallery button")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#target-prompts textarea').value !== ''")
    tab_to("#target-prompts textarea")
    page.keyboard.press("Control+A")
    page.keyboard.type("a green circle")
    tab_to("#keep input")
    tab_to("#preset input")
    tab_to("#edit-button")
    page.evaluate("document.querySelector('#status-line p').dataset.old = 'yes'")
    page.keyboard.press("Enter")
    assert visitor.end().startswith("1 edit.")
    assert visitor.captions == ["1. a green circle"]
    tab_to("#compare-with input")
    tab_to("#results-gallery button")
    tab_to("#show-changed input")
    tab_to("#downloads a")
