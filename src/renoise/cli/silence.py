"""What libraries say: their bars, logs and warnings are kept back, but for the few that matter to the user."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from renoise.cli.failures import as_option
from renoise.environment import require_libraries
from renoise.errors import RenoiseWarning

# What `warnings.showwarning` is.
_Show = Callable[..., None]
_TRUNCATED = re.compile(r"input was truncated because .* up to (?P<limit>\d+) tokens: (?P<rest>.*)", re.DOTALL)


@contextmanager
def remarks(note: Callable[[str], None], *, debug: bool = False) -> Iterator[logging.Handler]:
    """Pass renoise's own remarks and warnings on to the user, each once, and keep other warnings back.

    Args:
        note: shows a line to the user.
        debug: let Python warn.
    """
    handler = _Passing(note)
    ours = logging.getLogger("renoise")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            warnings.simplefilter("always", RenoiseWarning)
            warnings.showwarning = handler.pass_on(warnings.showwarning)
            yield handler
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


@contextmanager
def quiet_libraries(note: Callable[[str], None], *, debug: bool = False) -> Iterator[None]:
    """Silence diffusers, transformers, the hub client and Python's warnings; pass on what the user has to know.

    That is a prompt that is cut off because it is too long for the text encoder, and renoise's own remarks.

    Args:
        note: shows a line to the user.
        debug: let the libraries talk.

    Raises:
        ConfigError: if the libraries cannot be imported in this process.
    """
    require_libraries()
    with remarks(note, debug=debug) as handler, nullcontext() if debug else _hushed(handler):
        yield


@contextmanager
def _hushed(handler: logging.Handler) -> Iterator[None]:
    # transformers first: importing diffusers makes it talk.
    from huggingface_hub.utils import logging as hub
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers

    transformers.set_verbosity_error()
    transformers.disable_progress_bar()
    hub.set_verbosity(logging.ERROR)
    disable_progress_bars()
    from diffusers.utils import logging as diffusers

    diffusers.disable_progress_bar()
    diffusers.disable_default_handler()
    diffusers.add_handler(handler)
    try:
        yield
    finally:
        diffusers.remove_handler(handler)
        diffusers.enable_default_handler()


class _Passing(logging.Handler):
    """Turns the log records and the warnings that matter into notes, each once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self._worth_saying(record)
        if text is not None:
            self._say(text)

    def pass_on(self, show: _Show) -> _Show:
        """Return what shows a warning: renoise's as a note, others as `show` does."""

        def shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if isinstance(message, RenoiseWarning):
                self._say(message.told(as_option))
            else:
                show(message, category, *where, **more)

        return shown

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._note(text)

    def _worth_saying(self, record: logging.LogRecord) -> str | None:
        message = record.getMessage()
        if record.name.split(".")[0] == "renoise":
            return message
        truncated = _TRUNCATED.search(message)
        if truncated is None:
            return None
        rest = truncated["rest"].strip("[]'\" ")
        return f"warning: the prompt is longer than the model's {truncated['limit']} tokens; left out: {rest!r}"
