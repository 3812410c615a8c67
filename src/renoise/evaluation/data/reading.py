"""What the readers of all formats share: files to values, values to prompts, and the checks of a finished set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from renoise.errors import ConfigError, reason
from renoise.evaluation.data.example import Example


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that spreadsheets put first.

    Raises:
        ConfigError: if it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8 ({error.reason}); save it in that encoding") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}; check its permissions") from error


def parse_json(text: str, where: str) -> Any:
    """The value that `text` holds.

    Args:
        text: JSON.
        where: what an error calls it.

    Raises:
        ConfigError: if it is not JSON, or an object in it has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where} is not valid JSON: {error.msg} at {place}; correct it") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not usable JSON: {one_line(error)}; correct it") from error


def prompt_of(value: Any, where: str) -> str:
    """`value` as a prompt: text that is more than blanks, every run of which becomes one space.

    Args:
        value: anything.
        where: what an error calls it.

    Raises:
        ConfigError: if it is no text, or blank.
    """
    prompt = " ".join(value.split()) if isinstance(value, str) else ""
    if not prompt:
        raise ConfigError(f"{where} must be text that is not blank, not {short(value)}; give it one")
    return prompt


def first_of(record: dict[str, Any], keys: Sequence[str], where: str) -> Any:
    """The value under the first of `keys` that `record` has.

    Raises:
        ConfigError: if it has none of them.
    """
    for key in keys:
        if record.get(key) is not None:
            return record[key]
    present = [key for key, value in record.items() if value is not None]
    raise ConfigError(f"{where} needs one of {', '.join(keys)}, and has {', '.join(present) or 'nothing'}; add it")


def checked(examples: list[Example], source: str, *, remedy: str) -> list[Example]:
    """`examples`, once they are known to be some, to have names of their own, and to have images that are there.

    Args:
        examples: a finished set.
        source: what an error calls it.
        remedy: what to do about images that are not there.

    Raises:
        ConfigError: if one of these does not hold.
    """
    if not examples:
        raise ConfigError(f"{source} holds no images; expected at least one with its caption")
    name, times = Counter(example.name for example in examples).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"{source} names {name!r} {times} times; every name must occur once, so remove the others")
    missing = [e.picture for e in examples if isinstance(e.picture, Path) and not is_file(e.picture)]
    if missing:
        some = "1 image is" if len(missing) == 1 else f"{len(missing)} images are"
        raise ConfigError(f"{some} missing of the {len(examples)} of {source}, first {missing[0]}; {remedy}")
    return examples


def is_file(path: Path) -> bool:
    """Whether `path` is a file that can be found, whatever keeps it from being one."""
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, or a folder that may not be entered
        return False


def one_line(error: Exception) -> str:
    """What went wrong, in one line of bearable length."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def short(value: Any) -> str:
    """A value as an error shows it."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that comes twice, Python would keep the last value without a word."""
    record = dict(pairs)
    if len(record) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {key!r} occurs more than once")
    return record
