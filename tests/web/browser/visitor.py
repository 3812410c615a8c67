"""What a visitor of the page does, and what the visitor sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

# The work of a test takes a few seconds; machines that are busy take longer.
WAIT_MS = 30_000
# The status line is written anew when the work begins, so that a mark on it tells the old line from the new one.
MARK = "document.querySelector('#status-line p').dataset.old = 'yes'"
ENDED = """() => {
    const line = document.querySelector('#status-line p');
    return line && !line.dataset.old && (line.classList.contains('rn-failed') || / in all\\./.test(line.innerText));
}"""


class Visitor:
    """A visitor of one page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(WAIT_MS)
        self.part("edit-button").wait_for()

    def part(self, name: str) -> Locator:
        """The part of the page with a name."""
        return self.page.locator(f"#{name}")

    def pick_example(self, place: int = 0) -> None:
        """Pick a bundled example, and wait until the page has filled in its prompts."""
        self.part("examples-gallery").locator("button").nth(place).click()
        self.page.wait_for_function("() => document.querySelector('#target-prompts textarea').value !== ''")
        self.part("source-image").locator("img").wait_for()

    def upload(self, part: str, path: Path) -> None:
        """Give a file to a part of the page, and wait until the page has it."""
        with self.page.expect_response(lambda response: "/upload?" in response.url):
            self.part(part).locator("input[type=file]").set_input_files(path)

    def say(self, source: str | None, targets: str) -> None:
        """Write the prompts; None leaves the source prompt as it is."""
        if source is not None:
            self.part("source-prompt").locator("textarea").fill(source)
        self.part("target-prompts").locator("textarea").fill(targets)

    def choose(self, part: str, label: str) -> None:
        """Choose one of several by the beginning of its label."""
        self.part(part).locator("label").filter(has_text=re.compile(rf"^\s*{re.escape(label)}")).click()

    def advanced(self, **values: float) -> None:
        """Write numbers of the settings that are folded away."""
        panel = self.part("advanced")
        if not panel.locator("input").first.is_visible():
            panel.locator("button").first.click()
        for name, value in values.items():
            self.part(name).locator("input").fill(str(value))
            self.part(name).locator("input").blur()

    def begin(self, button: str = "edit-button") -> None:
        """Press a button, without waiting for its work."""
        self.page.evaluate(MARK)
        self.part(button).click()

    def end(self) -> str:
        """Wait until the work has ended, and return what the status line says."""
        self.page.wait_for_function(ENDED)
        return self.status

    def edit(self) -> str:
        """Press Edit, wait until the work has ended, and return what the status line says."""
        self.begin()
        return self.end()

    def wait_for_images(self) -> None:
        """Wait until all images are there, those out of sight as well, and what moves has come to its end."""
        self.page.wait_for_function("""() => [...document.images].every(image => {
            image.loading = 'eager';
            return image.complete;
        })""")
        self.page.wait_for_timeout(700)

    @property
    def status(self) -> str:
        """What the status line says."""
        return str(self.part("status-line").inner_text()).strip()

    @property
    def quality(self) -> str:
        """What the page says of how good the inversion is."""
        return str(self.part("quality").inner_text()).strip()

    @property
    def captions(self) -> list[str]:
        """The captions of the edits in the gallery."""
        return list(self.part("results-gallery").locator(".caption-label").all_inner_texts())

    @property
    def compared(self) -> list[str]:
        """The names of the two files in the slider."""
        found = self.part("compare-slider").locator("img").evaluate_all("all => all.map(one => one.src)")
        return [str(address).rsplit("/", 1)[-1] for address in found]

    def download(self, name: str, folder: Path) -> Path:
        """Download a file that is offered, by a part of its name."""
        link = self.part("downloads").locator(f"a[download*='{name}']").first
        with self.page.expect_download() as begun:
            link.click()
        path = folder / str(begun.value.suggested_filename)
        begun.value.save_as(path)
        return path
