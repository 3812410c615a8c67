"""A folder of images with captions: `captions.jsonl`, `captions.csv`, or a text file beside each image.

A line of captions.jsonl looks like this, where "file", "caption" and "edits" have other names too (see below):

    {"file": "lion.jpg", "caption": "a lion in the field", "edits": ["a tiger in the field"]}
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from renoise.errors import ConfigError, reason
from renoise.escaping import encodable
from renoise.evaluation.data.reading import (
    MAX_LINE,
    Example,
    checked,
    first_of,
    is_file,
    parse_json,
    prompt_of,
    read_text,
    short,
)
from renoise.images import FORMATS

FILE_KEYS = ("file", "file_name", "image")
CAPTION_KEYS = ("caption", "prompt", "text")
TARGET_KEYS = ("edits", "targets")
# A cell of a table holds one text, so that several targets in it need a separator.
CSV_SEPARATOR = "|"
PICTURES = {*FORMATS, ".gif"}


def load(folder: Path, limit: int | None = None) -> list[Example]:
    """Load the images of a folder in the order of its captions file, or by name where each has its own text file.

    Several edits are a list in JSON, and separated by | in CSV.
    """
    for name, read in (("captions.jsonl", _json_lines), ("captions.csv", _csv_lines)):
        path = folder / name
        if os.path.lexists(path):  # what is no file there is refused when it is read
            records = islice(read(read_text(path), str(path)), limit)
            examples = [_example(folder, record, where) for where, record in records]
            return checked(examples, str(path), remedy="put them into its folder or take their captions out")
    return checked(_with_texts(folder, limit), str(folder), remedy="put them into the folder")


def _json_lines(text: str, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # splitlines would also split at characters that a caption may hold, such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number},"
        if len(line) > MAX_LINE:
            raise ConfigError(f"{where} is longer than {MAX_LINE:,} characters", remedy="shorten it")
        record = parse_json(line, where)
        if not isinstance(record, dict):
            raise ConfigError(f'{where} must be an object like {{"file": ..., "caption": ...}}, not {short(record)}')
        yield where, record


def _csv_lines(text: str, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        for row in reader:
            where = f"{source}, line {reader.line_num},"
            if None in row:
                raise ConfigError(
                    f"{where} has more columns than the header", remedy="put quotes around text with commas"
                )
            record: dict[str, Any] = {key.strip(): value for key, value in row.items()}
            for key in TARGET_KEYS:
                if key in record:
                    record[key] = [t for t in (record[key] or "").split(CSV_SEPARATOR) if t.strip()]
            yield where, record
    except csv.Error as error:
        # The row begins there; one with an unclosed quote ends only with the file.
        line = reader.line_num + 1
        raise ConfigError(f"{source}, line {line}, is not valid CSV: {error}", remedy="correct it") from error


def _example(folder: Path, record: dict[str, Any], where: str) -> Example:
    file = first_of(record, FILE_KEYS, where)
    if not isinstance(file, str) or not file.strip():
        raise ConfigError(f"{where} must name the image's file, not {short(file)}")
    prompt = prompt_of(first_of(record, CAPTION_KEYS, where), f"{where} the caption")
    edits: Any = next((record[key] for key in TARGET_KEYS if record.get(key) is not None), [])
    targets = [edits] if isinstance(edits, str) else edits
    if not isinstance(targets, list):
        raise ConfigError(f"{where} the edits must be a list of prompts, not {short(edits)}")
    return Example(
        encodable(file), folder / file, prompt, tuple(prompt_of(target, f"{where} an edit") for target in targets)
    )


def _with_texts(folder: Path, limit: int | None) -> list[Example]:
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))
    except OSError as error:
        problem = f"the folder {folder} cannot be read: {reason(error)}"
        raise ConfigError(problem, argument="source", remedy="check its permissions") from error
    if not any(is_file(file.with_suffix(".txt")) for file in files):
        raise ConfigError(
            f"the folder {folder} has no captions: expected captions.jsonl, captions.csv, a .txt beside each image, "
            "PIE-Bench's mapping_file.json or what datasets' save_to_disk writes",
            argument="source",
            remedy="add one of them",
        )
    examples: list[Example] = []
    for file in files[:limit]:
        caption = file.with_suffix(".txt")
        if not is_file(caption):
            problem = f"{file} has no caption: expected it in {caption.name}"
            raise ConfigError(problem, remedy="write one or take the image out")
        prompt = prompt_of(read_text(caption, MAX_LINE), f"the caption in {caption}")
        examples.append(Example(encodable(file.name), file, prompt))
    return examples
