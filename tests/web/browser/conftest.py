"""The page as `renoise web` serves it, in a real browser that cannot leave this machine.

RENOISE_SCREENSHOTS=DIR keeps the screenshots in DIR.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
START_S = 120
# Nothing but this machine has a name or an address, so that a request elsewhere fails and is seen as well.
ALONE = ("--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")

Serve = Callable[..., Any]


@dataclass(frozen=True)
class Served:
    """A running `renoise web`."""

    url: str
    output: Path
    addresses: Path

    @property
    def said(self) -> str:
        """What the command has printed so far."""
        return self.output.read_text()

    @property
    def hosts(self) -> set[str]:
        """The hosts that the process has looked up or connected to so far."""
        return set(self.addresses.read_text().split())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return True  # it wants to know who asks
    except OSError:
        return False


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Served]:
    """Run `renoise web` until the end of the block; it serves when the block begins."""
    port = free_port()
    one = Served(f"http://127.0.0.1:{port}/", folder / "output.txt", folder / "addresses.txt")
    arguments = ["web", "--model", "mini-turbo", "--port", str(port), *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRADIO_")}
    with one.output.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "serving.py"), str(one.addresses), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        end = time.monotonic() + START_S
        while not answers(one.url):
            assert process.poll() is None, f"renoise web ended with {process.returncode}: {one.said}"
            assert time.monotonic() < end, f"renoise web does not serve after {START_S} s: {one.said}"
            time.sleep(0.2)
        yield one
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page that all tests share; it is started once, and only where there is a browser."""
    with serve(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, driven by playwright."""
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
        page.screenshot(path=path, full_page=True)
        return path

    return take
