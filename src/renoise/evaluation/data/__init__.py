"""Data sets to measure on: bundled, a folder with captions, COCO, PIE-Bench, or of the library `datasets`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from renoise.errors import ConfigError, reason
from renoise.evaluation.data import captions, coco, hugging_face, mini_edits, pie_bench
from renoise.evaluation.data.reading import Example, is_file

__all__ = ["BUNDLED", "HELDOUT", "MINI_EDITS", "Example", "editable", "load", "without_first"]

# The names of the data sets of the package renoise-mini.
BUNDLED = HELDOUT, MINI_EDITS = ("mini-heldout", "mini-edits")


def load(source: str | os.PathLike[str], *, limit: int | None = None) -> list[Example]:
    """Load the examples of a data set in its order. Files of images are not opened, but they must exist.

    Args:
        source: what to load:

            - "mini-heldout": the images that the bundled models were not trained on;
            - "mini-edits": the same images with the true results of their edits;
            - a folder with `captions.jsonl`, `captions.csv` or a .txt file beside each image;
            - COCO's `captions_val2017.json`, with the images beside it, in `val2017/` or in `../val2017/`; those
              with both sides above 420 pixels, each with its first caption;
            - a folder with PIE-Bench's `mapping_file.json` and `annotation_images/`;
            - "owner/name" or "owner/name:split", with or without "hf:" before it: a Hugging Face data set that is in
              the cache already, since nothing is downloaded; or a folder written by `save_to_disk`. Its images are
              held in memory.
        limit: how many examples to load, the first ones; the files of others need not exist.

    Raises:
        ConfigError: if there is no such data set here, or it cannot be used as it is.

    Examples:
        >>> load("pictures/", limit=2)  # doctest: +SKIP
        [Example(name='lion.jpg', image=PosixPath('pictures/lion.jpg'), prompt='a lion in the field', ...), ...]
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(
            f"limit must be a whole number of at least 1, or None for all images, not {limit!r}", argument="limit"
        )
    if source in BUNDLED:
        return _bundled(str(source), limit)
    path = _existing(source)
    if path is None:
        name = hugging_face.split_name(source) if isinstance(source, str) else None
        if name is None:
            raise ConfigError(
                f"there is no data set {str(source)[:200]!r}: expected {_NAMES}, a folder or a COCO captions file "
                "that exists, or owner/name",
                argument="source",
                remedy=f"check the path. COCO is to be had from {coco.DOWNLOAD}, PIE-Bench from {pie_bench.DOWNLOAD}",
            )
        return hugging_face.load_cached(*name, limit)
    if not path.is_dir():
        return coco.load(path, limit)
    if is_file(path / pie_bench.MAPPING):
        return pie_bench.load(path, limit)
    if hugging_face.is_saved(path):
        return hugging_face.load_saved(path, limit)
    return captions.load(path, limit)


def without_first(examples: Sequence[Example], skip: int, source: str | os.PathLike[str]) -> list[Example]:
    """Return the examples after the first `skip`; `source` is what they were loaded from.

    Raises:
        ConfigError: if none is left.
    """
    if skip >= len(examples):
        raise ConfigError(
            f"none is left of the first {len(examples)} images of {source} without {skip} of them",
            argument="skip",
            remedy="skip fewer of them",
        )
    return list(examples[skip:])


def editable(examples: Sequence[Example], source: str | os.PathLike[str]) -> list[Example]:
    """Return the examples that have prompts to edit them with; `source` is what they were loaded from.

    Raises:
        ConfigError: if there are none.
    """
    found = [example for example in examples if example.targets]
    if not found:
        raise ConfigError(
            f"none of the {len(examples)} images of {source} comes with a prompt to edit it with",
            argument="source",
            remedy=f'give {MINI_EDITS}, PIE-Bench, or a folder whose captions.jsonl has "edits"',
        )
    return found


_NAMES = ", ".join(map(repr, BUNDLED))


def _bundled(name: str, limit: int | None) -> list[Example]:
    """Load a data set of the package renoise-mini."""
    try:
        import renoise_mini
    except ImportError as error:
        problem = f"the images {name!r} are not installed"
        raise ConfigError(problem, argument="source", remedy="run: pip install 'renoise[mini]'") from error
    images = Path(renoise_mini.path("heldout"))
    if name == HELDOUT:
        return captions.load(images, limit)
    try:
        edits = Path(renoise_mini.path("edits"))
    except ValueError as error:
        problem = f"the installed renoise-mini has no data set {name!r}"
        raise ConfigError(problem, argument="source", remedy="run: pip install -U renoise-mini") from error
    return mini_edits.load(images, edits, limit)


def _existing(source: object) -> Path | None:
    """Return the folder or file that `source` names, if there is one."""
    if not isinstance(source, (str, os.PathLike)) or not str(source):
        problem = f"a data set must be {_NAMES}, a folder, a COCO file or owner/name, not {source!r}"
        raise ConfigError(problem, argument="source")
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"{str(source)[:80]!r} is no usable path ({reason(error)})"
        raise ConfigError(problem, argument="source", remedy="choose another") from error
