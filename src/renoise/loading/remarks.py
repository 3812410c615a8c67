"""What the libraries log while pipelines and adapters are loaded: kept off the terminal where it says nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Functions of diffusers that say, for each part of a pipeline, that a LoRA has nothing for it.
_HARMLESS = ("load_lora_adapter", "_load_lora_into_text_encoder")
# What says of each part that is of a pipeline's own module, such as ChatGLM, that its class is not checked.
_UNCHECKED, _WHERE = "maybe_raise_or_warn", "diffusers.pipelines.pipeline_loading_utils"


@contextmanager
def checked() -> Iterator[None]:
    """Keep back that diffusers does not check the classes of some parts, which are checked already."""
    logger = logging.getLogger(_WHERE)

    def other(record: logging.LogRecord) -> bool:
        return record.funcName != _UNCHECKED

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Keep what the libraries log off the terminal, and give what diffusers warns of: weights that it does not use."""
    handler = _Listener()
    # Transformers reports every weight of a text encoder that an adapter does not bring as missing.
    with _handled("diffusers", handler), _handled("transformers", logging.NullHandler()):
        yield handler.remarks


@contextmanager
def _handled(name: str, handler: logging.Handler) -> Iterator[None]:
    """Give what a library logs to one handler alone."""
    logger = logging.getLogger(name)
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield
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
