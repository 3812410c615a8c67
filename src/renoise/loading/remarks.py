"""What diffusers logs while it loads adapters: kept off the terminal, with its warnings collected."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Functions of diffusers that say, for each part of a pipeline, that a LoRA has nothing for it.
_HARMLESS = ("load_lora_adapter", "_load_lora_into_text_encoder")


@contextmanager
def heard() -> Iterator[list[str]]:
    """Keep what diffusers logs off the terminal, and give what it warns of: weights that it does not use."""
    logger, handler = logging.getLogger("diffusers"), _Listener()
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield handler.remarks
    finally:
        logger.handlers, level, logger.propagate = before
        logger.setLevel(level)


class _Listener(logging.Handler):
    """Collects warnings, but for those that say no more than that a part of the pipeline is not adapted."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.remarks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and record.funcName not in _HARMLESS:
            self.remarks.append(record.getMessage())
