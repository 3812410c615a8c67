"""What the readers of all formats share: the example that they make and its checks. Errors are `ConfigError`s."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from renoise import images
from renoise.errors import ConfigError
from renoise.escaping import shown
from renoise.evaluation.data.truths import Truth
from renoise.image_files import open_bytes
from renoise.reading import read_bytes

# COCO's largest captions file has 91 million bytes, and five million values.
MAX_BYTES, MAX_VALUES = 256 * 2**20, 8_000_000
# A caption of a line in a file of captions, and the prompt that is made of it.
MAX_LINE, MAX_PROMPT = 2**20, 20_000

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """An image with its caption and, where the data has them, edits of it.

    Attributes:
        name: unique within the data set and the same at every load: the image's path in its folder, its id in COCO or
            PIE-Bench, its row in a Hugging Face data set.
        image: the file; or, where the data set holds no files, the image itself or the bytes of its file.
        prompt: the caption.
        targets: prompts to edit the image with.
        mask: boolean (H, W), True where an edit may change the image.
        edit_type: what sort of edit it is, such as "add object".
        truths: the true results of edits, by the prompts out of `targets`; empty where the data has none.
    """

    name: str
    image: Path | Image.Image | bytes
    prompt: str
    targets: tuple[str, ...] = ()
    # Examples are compared without their masks, because an array has no single truth value.
    mask: npt.NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    edit_type: str | None = None
    truths: Mapping[str, Truth] = field(default_factory=dict, compare=False, repr=False)

    def edit_type_of(self, target: str) -> str | None:
        """Return what sort of edit a target is, where the data says it."""
        return self.truths[target].kind if target in self.truths else self.edit_type

    def load(self) -> Image.Image:
        """Return the image in mode RGB.

        Raises:
            ImageError: if it cannot be read.
        """
        return images.load(open_bytes(self.image, self.name) if isinstance(self.image, bytes) else self.image)


def checked(examples: list[Example], source: str, *, remedy: str) -> list[Example]:
    """Check that there are examples, that each has another name, and that their images exist.

    `source` is the set's name in errors, and `remedy` says what to do about missing images.
    """
    if not examples:
        raise ConfigError(
            f"{source} holds no images", argument="source", remedy="expected at least one with its caption"
        )
    name, times = Counter(example.name for example in examples).most_common(1)[0]
    if times > 1:
        problem = f"{source} names {name!r} {times} times"
        raise ConfigError(problem, argument="source", remedy="every name must occur once, so remove the others")
    missing = [e.image for e in examples if isinstance(e.image, Path) and not is_file(e.image)]
    if missing:
        some = "1 image is" if len(missing) == 1 else f"{len(missing)} images are"
        problem = f"{some} missing of the {len(examples)} of {source}, first {missing[0]}"
        raise ConfigError(problem, argument="source", remedy=remedy)
    return examples


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Read a UTF-8 file of limited size, without the byte order mark that spreadsheets put first."""
    try:
        return read_bytes(path, limit, ConfigError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8 ({error.reason})", remedy="save it in that encoding") from error


def parse_json(text: str, where: str) -> Any:
    """Parse JSON in which no object has a key twice; `where` is its name in errors."""
    # What is parsed takes many times the memory of its text, so that it is counted first.
    if sum(map(text.count, "[{,")) > MAX_VALUES:
        raise ConfigError(f"{where} holds more than {MAX_VALUES:,} values", remedy="split it")
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where} is not valid JSON: {error.msg} at {place}", remedy="correct it") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not usable JSON: {one_line(error)}", remedy="correct it") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a key that comes twice, Python would keep the last value without a word.
    record = dict(pairs)
    if len(record) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {key!r} occurs more than once")
    return record


def shaped(value: Any, form: type[T], where: str, remedy: str) -> T:
    """Return a value of JSON as an object of the given form."""
    try:
        return msgspec.convert(value, form)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter of lone surrogates
        raise ConfigError(f"{where}: {error}", remedy=remedy) from error


def prompt_of(value: Any, where: str) -> str:
    """Return a value as a prompt: text that is not blank, with every run of blanks as one space."""
    prompt = " ".join(value.split()) if isinstance(value, str) else ""
    if not prompt:
        raise ConfigError(f"{where} must be text that is not blank, not {short(value)}", remedy="give it one")
    if len(prompt) > MAX_PROMPT:
        raise ConfigError(f"{where} is longer than {MAX_PROMPT:,} characters", remedy="shorten it")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ConfigError(f"{where} holds a lone surrogate, which no text encoder reads", remedy="mend the text")
    return prompt


def first_of(record: dict[str, Any], keys: Sequence[str], where: str) -> Any:
    """Return the value under the first of `keys` that `record` has."""
    for key in keys:
        if record.get(key) is not None:
            return record[key]
    present = [key for key, value in record.items() if value is not None]
    problem = f"{where} needs one of {', '.join(keys)}, and has {', '.join(present) or 'nothing'}"
    raise ConfigError(problem, remedy="add it")


def is_file(path: Path) -> bool:
    """Return whether a path is a file that can be found, whatever keeps it from being one."""
    try:
        return path.is_file()
    except OSError:  # no file can have this name, or a folder may not be entered
        return False


def one_line(error: Exception) -> str:
    """Return what went wrong in one line of bearable length."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def short(value: Any) -> str:
    """Return a value as an error shows it."""
    try:
        return shown(repr(value[:100] if isinstance(value, str) else value), 60)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"
