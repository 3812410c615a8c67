"""What of a record is the image, the caption, the id and the targets, whatever format the record came in."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from renoise.errors import ConfigError, RenoiseError
from renoise.escaping import seen, shown
from renoise.jobs.rows import Row, content_id

# Names that columns have in data sets of others, the likeliest first.
IMAGE_KEYS = ("image", "jpg", "jpeg", "png", "webp", "file_name", "file", "image_path", "path")
CAPTION_KEYS = ("caption", "text", "prompt", "txt")
ID_KEYS = ("id", "__key__")
# A caption or target beyond this length is no prompt.
LONGEST = 20_000
# An id beyond this length is none.
LONGEST_ID = 1000
# As many names of columns as an error lists.
_LISTED = 20

# From the path of an image to the bytes of its file.
Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, and what takes their place.

    Attributes:
        image: the column of images; None looks for one of the usual names.
        caption: the column of captions; None likewise.
        id: the column of ids; None takes one of the usual names, or makes ids from the rows' content.
        targets: the column of targets; None where `to` has them.
        prompt: what all images show, in place of captions.
        to: the targets of all rows.
    """

    image: str | None = None
    caption: str | None = None
    id: str | None = None
    targets: str | None = None
    prompt: str | None = None
    to: tuple[str, ...] = ()

    def among(self, names: Collection[str], source: str) -> Columns:
        """Return the same with every column named.

        Args:
            names: the columns that there are.
            source: what errors call the input.

        Raises:
            ConfigError: if a column is missing.
        """
        for kind in ("image", "caption", "id", "targets"):
            asked = getattr(self, kind)
            if asked is not None and asked not in names:
                raise ConfigError(
                    f"{shown(source)} has no column {seen(asked)}; it has {_listed(names)}",
                    argument=f"{kind}_column",
                    remedy="name one of them",
                )
        image = self.image or _first(IMAGE_KEYS, names)
        caption = self.caption or _first(CAPTION_KEYS, names)
        if image is None:
            raise ConfigError(
                f"{shown(source)} has no column of images: expected {', '.join(IMAGE_KEYS)}, and it has "
                f"{_listed(names)}",
                argument="image_column",
                remedy="name the column",
            )
        if caption is None and self.prompt is None:
            raise ConfigError(
                f"{shown(source)} has no column of captions: expected {', '.join(CAPTION_KEYS)}, and it has "
                f"{_listed(names)}",
                argument="caption_column",
                remedy="name the column, or give one prompt for all images",
            )
        return replace(self, image=image, caption=caption, id=self.id or _first(ID_KEYS, names))

    @property
    def used(self) -> list[str]:
        """The columns that are read, each once."""
        captions = None if self.prompt is not None else self.caption
        return list(dict.fromkeys(name for name in (self.id, self.image, captions, self.targets) if name is not None))

    def row(self, record: Mapping[str, Any], fetch: Fetch, where: str) -> Row:
        """Return the row that a record holds; what is wrong with it is the row's problem.

        Args:
            record: its values by column.
            fetch: reads the file of an image that the record only names.
            where: what errors call the record.

        Raises:
            ConfigError: if it has no id though there is a column of ids.
        """
        problems: list[str] = []
        prompt = self.prompt
        if prompt is None:
            prompt = _text(record.get(self.caption or ""))
            if prompt is None:
                problems.append("the caption is missing, or is no text that can be read")
        targets = self._targets(record)
        if not targets:
            problems.append(f"there are no targets in the column {self.targets}, or they are no texts")
        value = record.get(self.image or "")
        try:
            image = _image(value, fetch)
            if image is None:
                problems.append(f"there is no image: {seen(value, 60)} in its place")
        except RenoiseError as error:
            image = None
            problems.append(str(error))
        if self.id is not None:
            id_ = self.id_of(record, where)
        else:
            # Without its image a row is told by where that should be.
            id_ = content_id(seen(value) if image is None else image, prompt, *targets)
        return Row(id_, image, prompt, targets, "; ".join(problems) or None)

    def id_of(self, record: Mapping[str, Any], where: str) -> str:
        """Return the id that a record holds in the column of ids.

        Raises:
            ConfigError: if there is none.
        """
        value = record.get(self.id or "")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ID:
            raise ConfigError(
                f"{shown(where)} has no id in the column {self.id}: {seen(value, 60)}",
                argument="id_column",
                remedy=f"give every row a text of at most {LONGEST_ID} characters or a whole number, or name another "
                "column",
            )
        return value.encode("utf-8", "backslashreplace").decode()

    def _targets(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        if self.targets is None:
            return self.to
        value = record.get(self.targets)
        texts = [_text(one) for one in value] if isinstance(value, (list, tuple)) else [_text(value)]
        return () if None in texts else tuple(text for text in texts if text is not None)


def inside(path: str) -> str:
    """Return the path of an image that must lie below its data set's folder.

    Raises:
        ConfigError: if it leads elsewhere.
    """
    normal = os.path.normpath(path.replace("\\", "/"))
    if not path or "\0" in path or os.path.isabs(normal) or normal.split("/")[0] in ("..", "."):
        raise ConfigError(f"the image {seen(path)} does not lie in the folder of its data set", remedy="move it there")
    return normal


def _first(keys: Collection[str], names: Collection[str]) -> str | None:
    return next((key for key in keys if key in names), None)


def _listed(names: Collection[str]) -> str:
    listed = [shown(name, 60) for name in sorted(names)[:_LISTED]]
    return (", ".join(listed) or "none") + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _text(value: Any) -> str | None:
    """Return a text of a record, the first one of a list of captions; None if it is no text that can be read."""
    if isinstance(value, (list, tuple)):
        value = next(iter(value), None)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value.strip()


def _image(value: Any, fetch: Fetch) -> bytes | None:
    """Return the bytes of an image's file, from a record's bytes, path, or pair of both as `datasets` stores it."""
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        value = data if isinstance(data, bytes) and data else path
    if isinstance(value, str) and value.strip():
        return fetch(value)
    return value if isinstance(value, bytes) and value else None
