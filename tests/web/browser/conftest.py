"""The page as `renoise web` serves it, in a real browser that cannot leave this machine.

RENOISE_SCREENSHOTS=DIR keeps the screenshots in DIR.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from web.browser.serving import Served, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Nothing but this machine has a name or an address, so that a request elsewhere fails and is seen as well.
ALONE = ("--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")


@pytest.fixture(scope="package")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page that all tests share; it is started once, and only where there is a browser."""
    with serve(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's chromium, driven by playwright, whose event loop would be in the way of tests outside this folder."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'renoise[web]'", exc_type=ImportError)
    pytest.importorskip("playwright", reason="the browser is driven by playwright: pip install playwright")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: install your system's package (make test-web does so on Debian)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(ALONE))
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a page of its own; the test fails if any page asked for something from elsewhere."""
    asked: list[str] = []
    contexts = []

    def open_one(url: str, *, width: int = 1280, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [url for url in asked if leaves(url)] == []


def leaves(url: str) -> bool:
    """Tell whether a request for an address leaves this machine."""
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1"


@pytest.fixture
def screenshot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Page, str], Path]:
    """Write what a page shows, from its top to its end, to a PNG."""
    folder = Path(os.environ.get("RENOISE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> Path:
        path = folder / f"{name}.png"
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=path, full_page=True)
        return path

    return take
