"""How much of a prompt the text encoders read, and a warning where none of them reads it all.

A family may have several encoders, and what CLIP leaves out counts all the same where T5 reads it.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from renoise.backbones.base import Request
from renoise.errors import TruncationWarning
from renoise.escaping import shown

# Encoders read some hundred tokens. What follows in a prompt of more characters than this is not even looked at.
_LOOKED_AT = 50_000
# How much is quoted of what is left out.
_QUOTED = 120


@dataclass(frozen=True)
class Reader:
    """A text encoder of a pipeline with its tokenizer.

    Attributes:
        name: the encoder's class.
        tokenizer: makes its tokens.
        limit: the most tokens that it reads, those at the beginning and at the end included.
        around: what the pipeline puts around a text within those tokens.
        spelled: returns a text as the pipeline hands it to a tokenizer, with the parts of learned words spelled out.
    """

    name: str
    tokenizer: Any
    limit: int
    spelled: Callable[[str, Any], str] = lambda text, tokenizer: text
    around: str = ""

    def left_out(self, text: str) -> str:
        """Return the end of a text that it does not read; an empty text if it reads all."""
        kept = self.limit - self.tokenizer.num_special_tokens_to_add() - self._count(self.around)
        # A long text is looked at as a whole only if its beginning makes next to no tokens.
        for beginning in dict.fromkeys((_beginning(text), text)):
            spelled = self.spelled(beginning, self.tokenizer)
            read = self._read(spelled, kept)
            if read < len(spelled):
                rest = spelled[read:] + text[len(beginning) :]
                return rest.strip() or rest
        return ""

    def _read(self, text: str, kept: int) -> int:
        """Return how many characters the first `kept` tokens of a text hold."""
        if not self.tokenizer.is_fast:  # tokenizers in Python do not tell where their tokens stand
            return bisect_right(range(len(text) + 1), kept, key=lambda length: self._count(text[:length])) - 1
        tokens = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        places = tokens["offset_mapping"]
        return int(places[kept][0]) if len(places) > kept else len(text)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else 0


class Family(Protocol):
    """What lengths need of a family beside its pipeline."""

    @property
    def reads_at_most(self) -> int | None:
        """The most tokens that its text encoders are given; None is what `encode_prompt` has by default."""

    def around(self, encoder: str, *, negative: bool) -> str:
        """Return what its pipeline puts around a prompt within the tokens that an encoder reads."""


def readers_of(pipe: Any, family: Family | None = None, *, negative: bool = False) -> tuple[Reader, ...]:
    """Return the text encoders of a pipeline that have a tokenizer.

    Args:
        pipe: the pipeline.
        family: its family's backbone; None puts nothing around prompts.
        negative: whether they are to read negative prompts.
    """
    # The limit of encoders whose tokenizer knows of none (T5, language models) is an argument of the pipeline.
    encode = getattr(pipe, "encode_prompt", None)
    asked = None if encode is None else inspect.signature(encode).parameters.get("max_sequence_length")
    most = (None if family is None else family.reads_at_most) or (None if asked is None else asked.default)
    readers = []
    for name, encoder in pipe.components.items():
        if not name.startswith("text_encoder") or encoder is None:
            continue
        tokenizer: Any = getattr(pipe, name.replace("text_encoder", "tokenizer"), None)
        if not hasattr(tokenizer, "is_fast"):  # a processor of texts and images has one
            tokenizer = getattr(tokenizer, "tokenizer", None)
        if not hasattr(tokenizer, "is_fast"):
            continue
        limit = tokenizer.model_max_length if most is None else min(most, tokenizer.model_max_length)
        spelled = getattr(pipe, "maybe_convert_prompt", Reader.spelled)
        around = "" if family is None else family.around(name, negative=negative)
        readers.append(Reader(type(encoder).__name__, tokenizer, int(limit), spelled, around))
    return tuple(readers)


def shortened(pipe: Any, request: Request, family: Family | None = None) -> Request:
    """Return a request without what lies far beyond every encoder's reach, so that no megabyte is made into tokens.

    Args:
        pipe: the pipeline that encodes the prompts.
        request: the prompts, whole.
        family: see `readers_of`.
    """
    readers, negatives = readers_of(pipe, family), request.negative_prompts
    others = readers_of(pipe, family, negative=True)
    return replace(
        request,
        prompts=[_reached(readers, text) for text in request.prompts],
        negative_prompts=None if negatives is None else [_reached(others, text) for text in negatives],
    )


def remark(pipe: Any, request: Request, family: Family | None = None, *, guided: bool) -> None:
    """Warn of the prompts of a request of which no text encoder reads the end.

    Args:
        pipe: the pipeline that encodes them.
        request: the prompts, whole.
        family: see `readers_of`.
        guided: whether the negative prompts count.

    Warns:
        TruncationWarning: once, with the beginning and the end of what is left out.
    """
    negatives = (request.negative_prompts or ()) if guided else ()
    for negative, prompts in ((False, request.prompts), (True, negatives)):
        name, readers = "negative prompt" if negative else "prompt", readers_of(pipe, family, negative=negative)
        cut = [found for text in dict.fromkeys(prompts) if (found := _left_out(readers, text)) is not None]
        if cut:
            reader, rest = cut[0]
            others = f" (and the end of {len(cut) - 1} more)" if len(cut) > 1 else ""
            problem = (
                f"the {name} is longer than the {reader.limit} tokens that the model's text encoder ({reader.name}) "
                f"reads; left out: '{shown(rest, _QUOTED)}'{others}"
            )
            warnings.warn(TruncationWarning(problem, argument=name.replace(" ", "_")), stacklevel=2)


@contextmanager
def unheard(pipe: Any) -> Iterator[None]:
    """Keep the logs of a pipeline and of its tokenizers back: each encoder reports its own limit as the model's."""
    parts = [pipe, *(reader.tokenizer for reader in readers_of(pipe))]
    modules = {kind.__module__ for part in parts for kind in type(part).__mro__}
    loggers = [logging.getLogger(module) for module in modules]

    # A filter of this call's own: levels belong to the process, and changing one empties the caches of all loggers.
    def grave(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    for logger in loggers:
        logger.addFilter(grave)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(grave)


def _left_out(readers: Sequence[Reader], text: str) -> tuple[Reader, str] | None:
    """Return the encoder that reads most of a text, with what it leaves out; None if one reads it all."""
    cut = [(reader, reader.left_out(text)) for reader in readers]
    return min(cut, key=lambda one: len(one[1])) if cut and all(rest for _, rest in cut) else None


def _reached(readers: Sequence[Reader], text: str) -> str:
    """Return as much of a text as the encoders may read."""
    beginning = _beginning(text)
    return beginning if len(beginning) == len(text) or all(r.left_out(beginning) for r in readers) else text


def _beginning(text: str) -> str:
    """Return as much of a text as encoders may read, up to the end of a word if it has words."""
    if len(text) <= _LOOKED_AT:
        return text
    beginning = text[:_LOOKED_AT]
    words = beginning.rsplit(maxsplit=1)
    return words[0] if len(words) > 1 else beginning
