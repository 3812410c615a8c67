"""Remarks on prompts in the language of other programs, which diffusers' text encoders read as plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from renoise.errors import Argument, Part

# A bracket that is preceded by a backslash is meant as it is written.
_ROUND = re.compile(r"(?<!\\)\(([^()\n]*)\)")
_DOUBLED = re.compile(r"(?<!\\)\(\s*\(([^()\n]*)\)\s*\)")
_SQUARE = re.compile(r"(?<!\\)\[([^\[\]\n]*)\]")
# A weight is a decimal, or a single digit right behind the colon: (word:1.4), but not (chapter: 3) or (page:11).
_WEIGHT = re.compile(r"\s*[+-]?\d*\.\d+\s*|\d\s*")
_NETWORK = re.compile(r"<\s*(?:lora|lyco|hypernet)\s*:[^<>\n]+>", re.IGNORECASE)
_BREAK = re.compile(r"(?<![\w\"'])BREAK(?![\w\"'])")
_SHOWN = 3


def remark(prompts: Iterable[str], *, embeds: bool = True) -> tuple[list[Part], tuple[Part, ...]] | None:
    """Return what to say of prompts in the language of Stable Diffusion web UI: problem and remedy; None for others.

    Args:
        prompts: any number of them.
        embeds: whether the model takes embeddings in place of prompts, which may be weighted.

    Examples:
        >>> problem, remedy = remark(["a (red:1.4) cat"])
        >>> "".join(map(str, problem))
        "'(red:1.4)' in the prompt is read as plain words"
        >>> remark(["a cat (siamese) on a 16:9 screen"]) is None
        True
    """
    texts = list(dict.fromkeys(prompts))
    weights = list(dict.fromkeys(found for text in texts for found in _weights(text)))
    adapters = list(dict.fromkeys(found for text in texts for found in _NETWORK.findall(text)))
    if not weights and not adapters:
        return None
    found = [*adapters, *weights]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    problem: list[Part] = [f"{', '.join(map(repr, found[:_SHOWN]))}{more} in the prompt is read as plain words"]
    remedy: list[Part] = []
    if weights and embeds:
        remedy += ["for weights and long prompts give ", Argument("prompt_embeds"), ", which compel makes"]
    elif weights:
        remedy += ["this model takes no weights: write plain words"]
    if adapters:
        remedy += [", and for" if weights else "for", " adapters ", Argument("lora", "name:0.7")]
    return problem, tuple(remedy)


def _weights(text: str) -> Iterator[str]:
    for match in _ROUND.finditer(text):
        words, colon, weight = match[1].rpartition(":")
        # What stands before the colon of a ratio or of a time is a number: (16:9), (at 10:30).
        if colon and _WEIGHT.fullmatch(weight) and not words.rstrip()[-1:].isdigit() and _has_word(words):
            yield match[0]
    # Round brackets around words are ordinary, and so are a footnote such as [1] and an omission such as [...].
    for pattern in (_DOUBLED, _SQUARE):
        yield from (match[0] for match in pattern.finditer(text) if _has_word(match[1]))
    # In capitals throughout it is a word among others.
    if any(character.islower() for character in text) and _BREAK.search(text):
        yield "BREAK"


def _has_word(text: str) -> bool:
    return any(character.isalpha() for character in text)
