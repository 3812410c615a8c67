"""Errors as Gradio shows them to a client: the library's sentences, and never a traceback."""

from __future__ import annotations

import logging
import traceback
from html import escape
from typing import Any

import gradio as gr

from renoise.errors import RenoiseError
from renoise.web.sentences import failure

_LOG = logging.getLogger("renoise.web")
# How long an error stands in the corner of the page, in seconds.
_SECONDS = 15


def as_message(error: BaseException, *, html: bool) -> Any:
    """Return an error as one that Gradio shows to the client; what nobody expected is logged for whoever runs it.

    Args:
        error: what was raised.
        html: whether the client is a browser with the page, which shows the text of an error as HTML: the text may
            hold names out of files that strangers made.
    """
    if not isinstance(error, RenoiseError):
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        _LOG.error("a request failed with %s: %s%s", type(error).__name__, error, where)
    text = failure(error)
    shown = escape(text, quote=False) if html else text
    return gr.Error(shown, duration=_SECONDS, title="This did not work", print_exception=False)
