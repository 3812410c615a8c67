"""Prompts of a batch: which image each belongs to, and how the results are arranged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen

Prompt = str | list[str]


def one_each(text: Prompt | Sequence[str], count: int, name: str) -> list[str]:
    """Return a string for all images, or one for each, as a list of `count`.

    Raises:
        ConfigError: if there are neither one nor `count`, or they are no strings.
    """
    if isinstance(text, str):
        return [_readable(text, name)] * count
    if not isinstance(text, (list, tuple)) or not all(isinstance(t, str) for t in text):
        raise ConfigError(Argument(name), f" must be a string or a list of strings, not {seen(text)}")
    if len(text) != count:
        raise ConfigError(
            f"there are {count} images but {len(text)} entries in ",
            Argument(name),
            remedy="give one, or one for each",
        )
    return [_readable(t, name) for t in text]


def _readable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            Argument(name),
            f" {seen(text)} holds a lone surrogate, which no text encoder reads",
            remedy="mend the text",
        ) from error
    return text


def arrange_targets(
    prompt: str | Sequence[Any], count: int, batched: bool
) -> tuple[list[list[str]], Callable[[list[Any]], Any]]:
    """Return the target prompts of each image, and the function that shapes flat results as the prompts were.

    Args:
        prompt: for one image a string or a list of targets; for a batch a string for all, a list with one for each
            image, or a list of lists of targets for each.
        count: the number of images.
        batched: whether they are a batch.

    Raises:
        ConfigError: if the prompts do not fit the images.
    """
    if isinstance(prompt, str):
        targets = [[one] for one in one_each(prompt, count, "prompt")]
        return targets, (lambda flat: flat) if batched else (lambda flat: flat[0])
    if not isinstance(prompt, (list, tuple)) or not prompt:
        raise ConfigError(
            f"the target prompt must be a string or a list that is not empty, not {seen(prompt)}", argument="prompt"
        )
    if not batched:
        return [one_each(prompt, len(prompt), "prompt")], lambda flat: flat
    if len(prompt) != count:
        raise ConfigError(
            f"there are {count} images but {len(prompt)} target prompts", argument="prompt", remedy="give one for each"
        )
    if all(isinstance(p, str) for p in prompt):
        return [[p] for p in one_each(prompt, count, "prompt")], lambda flat: flat
    if not all(isinstance(p, (list, tuple)) and p for p in prompt):
        raise ConfigError(
            "target prompts of a batch must be strings, or lists of strings, for every image", argument="prompt"
        )
    targets = [one_each(p, len(p), "prompt") for p in prompt]

    def nested(flat: list[Any]) -> list[list[Any]]:
        rest = iter(flat)
        return [[next(rest) for _ in own] for own in targets]

    return targets, nested
