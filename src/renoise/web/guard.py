"""What keeps hostile requests out: no address is fetched, and no body is larger than an upload may be."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError

from renoise.errors import ConfigError
from renoise.web.limits import Limits
from renoise.web.messages import as_message
from renoise.web.uploads import not_uploaded, require_uploads

# What a request has beside the bytes of its file.
_BESIDE = 2**20
# So many times what is allowed is poured away before the line is cut.
_PATIENCE = 8


class Guarded(gr.Blocks):  # type: ignore[misc]
    """A page whose clients can name uploads, and nothing else: Gradio would fetch an address that a client gives.

    Whatever fails while a request is answered reaches the client as a sentence of this library.
    """

    async def process_api(self, block_fn: Any, *given: Any, **options: Any) -> Any:
        """See `gradio.Blocks.process_api`."""
        try:
            return await super().process_api(block_fn, *given, **options)
        except Exception as error:
            function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
            raise as_message(error, html=function.api_visibility != "public") from error

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *more: Any, **options: Any) -> Any:
        """See `gradio.Blocks.preprocess_data`."""
        if len(inputs) != len(block_fn.inputs):
            raise ConfigError(
                f"the request has {len(inputs)} values, not {len(block_fn.inputs)}", remedy="look the arguments up"
            )
        require_uploads(inputs)
        try:
            return await super().preprocess_data(block_fn, inputs, *more, **options)
        except InvalidPathError as error:
            raise not_uploaded() from error
        except (AttributeError, OSError, TypeError, ValueError) as error:  # of values that are not what Gradio expects
            raise ConfigError("a value of the request has a wrong form", remedy="look its type up") from error


class RecentLayers(OrderedDict[str, Any]):
    """What browsers painted and sent ahead of their requests; of many, the oldest are forgotten.

    Args:
        most: how many are held.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, name: str, layers: Any) -> None:
        super().__setitem__(name, layers)
        while len(self) > self._most:
            self.popitem(last=False)


class BoundedBodies:
    """An ASGI middleware that refuses requests with larger bodies than uploads may be.

    Gradio bounds the files of its upload route alone.

    Args:
        app: answers the others.
        limits: bound the bytes.
    """

    def __init__(self, app: Any, limits: Limits) -> None:
        self._app = app
        self._most = limits.upload_bytes + _BESIDE

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > self._most:
            await self._pour_away(receive)
            await _refuse(send, f"the request is too large: at most {self._most:,} bytes are taken")
            return
        taken = 0

        async def bounded() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # A client that sends on without having said how much is cut off.
            return {"type": "http.disconnect"} if taken > self._most else message

        await self._app(scope, bounded, send)

    async def _pour_away(self, receive: Any) -> None:
        """Take what is sent without keeping it, up to a point: a client reads no answer before it has sent all."""
        taken, more = 0, True
        while more and taken < _PATIENCE * self._most:
            message = await receive()
            taken += len(message.get("body", b""))
            more = message.get("more_body", False)


async def _refuse(send: Any, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
