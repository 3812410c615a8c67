"""What keeps hostile requests out, by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from renoise.web.limits import Limits

pytestmark = pytest.mark.web

pytest.importorskip("gradio", reason="the page is not installed: pip install 'renoise[web]'")

MOST = 2**20 + 100


def answer(chunks: list[bytes], headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Send a request through the middleware, and return the status and how many bytes reached the application."""
    from renoise.web.guard import BoundedBodies

    left, sent, taken = list(chunks), [], 0

    async def receive() -> Any:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal taken
        more = True
        while more:
            message = await receive()
            taken += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "headers": headers}
    asyncio.run(BoundedBodies(app, Limits(upload_bytes=100))(scope, receive, send))
    return sent[0]["status"], taken


def test_a_body_within_the_bound_passes() -> None:
    assert answer([bytes(500_000), bytes(500_000)], [(b"content-length", b"1000000")]) == (200, 1_000_000)


@pytest.mark.parametrize("length", [b"1048677", b"9" * 30, b"-1", b"many"])
def test_a_body_that_says_that_it_is_larger_never_reaches_the_application(length: bytes) -> None:
    assert answer([bytes(100)], [(b"content-length", length)]) == (413, 0)


def test_a_body_that_does_not_say_so_is_cut_off() -> None:
    _, taken = answer([bytes(MOST), bytes(1), bytes(10**6)], [])
    assert taken == MOST


def test_of_what_browsers_paint_the_oldest_is_forgotten() -> None:
    from renoise.web.guard import RecentLayers

    layers = RecentLayers(2)
    for name in ("a", "b", "c"):
        layers[name] = name
    assert list(layers) == ["b", "c"]
    assert layers.pop("a", None) is None
    assert layers.get("c") == "c"
