"""What libraries say: their bars, logs and warnings are kept back, but for the few that matter to the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from renoise.cli.failures import as_option
from renoise.environment import require_libraries
from renoise.errors import RenoiseWarning

# What `warnings.showwarning` is.
_Show = Callable[..., None]


@contextmanager
def remarks(note: Callable[[str], None], *, debug: bool = False) -> Iterator[None]:
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
            yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


@contextmanager
def quiet_libraries(note: Callable[[str], None], *, debug: bool = False) -> Iterator[None]:
    """Silence diffusers, transformers, the hub client and Python's warnings; pass on renoise's own remarks.

    Args:
        note: shows a line to the user.
        debug: let the libraries talk.

    Raises:
        ConfigError: if the libraries cannot be imported in this process.
    """
    require_libraries()
    with remarks(note, debug=debug), nullcontext() if debug else _hushed():
        yield


@contextmanager
def _hushed() -> Iterator[None]:
    # Packages that diffusers imports where they are installed log without a handler; torch has one.
    unhandled, logging.lastResort = logging.lastResort, logging.NullHandler()
    torch = logging.getLogger("torch")
    level = torch.level
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
    torch.setLevel(logging.ERROR)
    try:
        yield
    finally:
        diffusers.enable_default_handler()
        torch.setLevel(level)
        logging.lastResort = unhandled


class _Passing(logging.Handler):
    """Turns renoise's log records and warnings into notes, each once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())

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
