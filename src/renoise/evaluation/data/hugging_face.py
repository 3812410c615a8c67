"""Data sets of the Hugging Face library `datasets`: from its cache, or as `save_to_disk` writes them.

Nothing is ever downloaded: a data set may be hundreds of gigabytes, and its user decides whether to get it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from renoise.errors import ConfigError
from renoise.evaluation.data.reading import Example, checked, first_of, is_file, one_line, prompt_of

PREFIX = "hf:"
IMAGE_KEYS = ("image", "jpg", "png")
CAPTION_KEYS = ("caption", "text", "prompt")
_NAME = re.compile(rf"(?:{PREFIX})?(?P<name>\w[\w.-]*/\w[\w.-]*)(?::(?P<split>\w[\w.-]*))?")


def split_name(source: str) -> tuple[str, str | None] | None:
    """Return the name and the split of `[hf:]owner/name[:split]`, or None if `source` has another form.

    Examples:
        >>> split_name("hf:owner/pictures:test")
        ('owner/pictures', 'test')
    """
    found = _NAME.fullmatch(source)
    return (found["name"], found["split"]) if found else None


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` of `datasets` has written `folder`."""
    return any(is_file(folder / name) for name in ("state.json", "dataset_dict.json"))


def load_cached(name: str, split: str | None = None, limit: int | None = None) -> list[Example]:
    """Load a data set that `datasets.load_dataset(name)` has brought into its cache before."""
    what = "is no folder or file here, and no data set that can be read from the cache"
    get = f"python -c \"import datasets; datasets.load_dataset('{name}')\""
    remedy = f"correct the path, or get it with: {get}, or give a folder written by its save_to_disk"
    return _load(name, lambda datasets: datasets.load_dataset(name), (what, remedy), split, f"{name}:", limit)


def load_saved(folder: Path, limit: int | None = None) -> list[Example]:
    """Load a data set that `save_to_disk` has written; if it has several splits, give the folder of one of them."""
    told, name = ("cannot be read as a saved data set", "save it again with save_to_disk"), str(folder)
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if not (is_file(path) or path.is_dir()):
            problem = f"{path} is no regular file, so that {folder} {told[0]}"
            raise ConfigError(problem, argument="source", remedy=told[1])
    return _load(name, lambda datasets: datasets.load_from_disk(name), told, None, f"{name}/", limit)


def _load(
    source: str, read: Callable[[Any], Any], told: tuple[str, str], split: str | None, prefix: str, limit: int | None
) -> list[Example]:
    """Load a data set as `read` does; `told` is what an error says of one that cannot be read, and its remedy."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise ConfigError(
            f"{source} is read with the library datasets, which is not installed",
            argument="source",
            remedy="run: pip install datasets, or correct the path if a folder or file was meant",
        ) from error
    with _offline(datasets):
        try:
            loaded = read(datasets)
        except Exception as error:  # datasets raises whatever its many readers do: all of it means "not loaded"
            raise ConfigError(f"{source} {told[0]} ({one_line(error)})", argument="source", remedy=told[1]) from error
        rows = _undecoded(datasets, _one_split(loaded, split, prefix))
        count = len(rows) if limit is None else min(limit, len(rows))
        return checked([_example(rows, number, source) for number in range(count)], source, remedy="get it again")


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Switch both libraries to offline mode, and back.

    No argument does this: even with `DownloadConfig(local_files_only=True)` the hub is asked first. The switch of
    `datasets` sends it to its cache at once, and with its own switch `huggingface_hub` refuses any request.
    """
    switches: tuple[Any, ...] = (datasets.config, importlib.import_module("huggingface_hub.constants"))
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        for switch in switches:
            switch.HF_HUB_OFFLINE = True
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value


def _one_split(loaded: Any, split: str | None, prefix: str) -> Any:
    """Return the rows of one split, for which a user would give `prefix` and its name."""
    if not isinstance(loaded, dict):
        return loaded
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split not in loaded:
        asked = "several splits" if split is None else f"no split {split!r}"
        raise ConfigError(
            f"{prefix[:-1]} has {asked}",
            argument="source",
            remedy=f"give one of {', '.join(prefix + name for name in loaded)}",
        )
    return loaded[split]


def _undecoded(datasets: Any, rows: Any) -> Any:
    """Return the rows with images as the bytes of their files: the library would open files of any format."""
    kind = getattr(datasets, "Image", None)
    for name, feature in (getattr(rows, "features", None) or {}).items():
        if kind is not None and isinstance(feature, kind):
            rows = rows.cast_column(name, kind(decode=False))
    return rows


def _stored(image: Any) -> Any:
    """Return an image as an example holds it, if it is one: the image, the bytes of its file, or the file."""
    if not isinstance(image, dict):
        return image if isinstance(image, Image.Image) else None
    data, path = image.get("bytes"), image.get("path")
    if isinstance(data, bytes) and data:
        return data
    return Path(path) if isinstance(path, str) and path else None


def _example(rows: Any, number: int, source: str) -> Example:
    where = f"{source}, row {number},"
    try:
        row = rows[number]
    except Exception as error:  # an image that cannot be decoded, or is not in the cache
        raise ConfigError(f"{where} cannot be read: {one_line(error)}", remedy="get the data set again") from error
    found = first_of(row, IMAGE_KEYS, where)
    image = _stored(found)
    if image is None:
        raise ConfigError(
            f"{where} holds a {type(found).__name__} for an image",
            remedy="cast the column to datasets.Image() and save it with save_to_disk",
        )
    caption = first_of(row, CAPTION_KEYS, where)
    if isinstance(caption, list):
        caption = next(iter(caption), None)
    return Example(f"{number:06d}", image, prompt_of(caption, f"{where} the caption"))
