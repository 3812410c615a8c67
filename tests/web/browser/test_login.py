"""A page with `--user` lets in who knows the password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from web.browser.serving import serve
from web.browser.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.web


def test_a_page_with_a_password(
    browser: Browser, open_page: Callable[..., Page], tmp_path: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    with serve(tmp_path, "--user", "anna:secret") as served:
        page = open_page(served.url)
        name, password = page.locator("input[type=text]").first, page.locator("input[type=password]")
        password.wait_for()
        assert page.locator("#edit-button").count() == 0
        screenshot(page, "login")
        name.fill("anna")
        password.fill("guess")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("Incorrect Credentials").wait_for()
        assert page.locator("#edit-button").count() == 0
        name.fill("anna")
        password.fill("secret")
        page.get_by_role("button", name="Login").click()
        visitor = Visitor(page)
        visitor.pick_example()
        assert visitor.edit().startswith("2 edits.")
        assert "secret" not in served.said
