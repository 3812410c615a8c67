"""Where a job's input lies: a file or a folder on this machine, or a URL that pyarrow's file systems read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from renoise.errors import ConfigError, ImageError, RenoiseError, reason
from renoise.escaping import shown
from renoise.image_files import MAX_BYTES
from renoise.jobs.extra import library
from renoise.reading import read_bytes

_URL = re.compile(r"[a-z][a-z0-9+.-]+://.*", re.DOTALL)
# A file of captions is read line by line; one line of it and one tar header are short.
CHUNK = 2**20


@dataclass(frozen=True, order=True)
class File:
    """A file of the input.

    Attributes:
        path: below the input, with slashes; "" is the input itself.
        size: in bytes.
        changed: when it was written last, in nanoseconds; 0 where that is not known.
    """

    path: str
    size: int
    changed: int


def is_url(text: str) -> bool:
    """Tell a URL from a path.

    Examples:
        >>> is_url("s3://bucket/images"), is_url("images"), is_url("C:/images")
        (True, False, False)
    """
    return _URL.fullmatch(text) is not None


def absolute(source: str | os.PathLike[str]) -> str:
    """Return an input by a name that means the same in every folder."""
    text = os.fspath(source)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("the input must be a path or a URL", argument="source", remedy="name a file or a folder")
    return text if is_url(text) else os.path.abspath(os.path.expanduser(text))


@dataclass(frozen=True)
class Place:
    """An input by its name: an absolute path or a URL. It can be sent to another process.

    Raises:
        ConfigError: by its methods, if there is no such place or it cannot be read.
    """

    name: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        fs = library("pyarrow.fs")
        try:
            found: tuple[Any, str] = (
                fs.FileSystem.from_uri(self.name)
                if is_url(self.name)
                else (
                    fs.LocalFileSystem(),
                    self.name,
                )
            )
        except Exception as error:  # pyarrow raises its own errors and those of each file system
            raise self._unreadable(error) from error
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return not is_url(self.name)

    @property
    def system(self) -> Any:
        """The file system, of `pyarrow.fs`."""
        return self._opened[0]

    def path(self, file: str = "") -> str:
        """Return the path of a file below this place, as its file system has it."""
        root = self._opened[1]
        return f"{root.rstrip('/')}/{file}" if file else root

    @cached_property
    def files(self) -> tuple[File, ...]:
        """All files, sorted by their paths; the place itself, if it is a file."""
        fs = library("pyarrow.fs")
        root = self.path()
        try:
            (info,) = self.system.get_file_info([root])
            if info.type == fs.FileType.NotFound:
                problem = f"there is no input {shown(self.name)}"
                raise ConfigError(problem, argument="source", remedy="check the path")
            if info.type == fs.FileType.File:
                return (_file("", info),)
            inside = self.system.get_file_info(fs.FileSelector(root, recursive=True))
        except RenoiseError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error
        length = len(root.rstrip("/")) + 1
        return tuple(sorted(_file(one.path[length:], one) for one in inside if one.type == fs.FileType.File))

    def names(self, *endings: str) -> list[str]:
        """Return the paths of the files with these endings, without hidden ones."""
        seen = (file.path for file in self.files)
        return [path for path in seen if path.lower().endswith(endings) and not Path(path).name.startswith((".", "_"))]

    def has(self, file: str) -> bool:
        """Tell whether there is a file of this name."""
        return any(one.path == file for one in self.files)

    def open(self, file: str = "") -> Any:
        """Open a file to read at any place of it, as a `pyarrow.NativeFile`."""
        try:
            return self.system.open_input_file(self.path(file))
        except Exception as error:
            raise self._unreadable(error, file) from error

    def image(self, file: str) -> bytes:
        """Return the bytes of an image's file.

        Args:
            file: below this place, or the absolute path or URL of another one.

        Raises:
            ImageError: if it cannot be read, or is larger than images are.
        """
        if is_url(file):
            return Place(file).image("")
        if self.is_local:
            return read_bytes(os.path.join(self.name, file) if file else self.name, MAX_BYTES, ImageError)
        try:
            path = self.path(file)
            (info,) = self.system.get_file_info([path])
            if (info.size or 0) > MAX_BYTES:
                raise ImageError(f"{shown(file)} is larger than the {MAX_BYTES:,} bytes that are read of an image")
            with self.system.open_input_stream(path) as stream:
                return bytes(stream.read(MAX_BYTES))
        except RenoiseError:
            raise
        except Exception as error:
            problem = f"{shown(file or self.name)} cannot be read: {shown(reason(error), 200)}"
            raise ImageError(problem, remedy="check the path") from error

    def _unreadable(self, error: Exception, file: str = "") -> ConfigError:
        name = f"{self.name.rstrip('/')}/{file}" if file else self.name
        problem = f"the input {shown(name)} cannot be read: {shown(' '.join(reason(error).split()), 300)}"
        return ConfigError(problem, argument="source", remedy="check the path, and for a URL what its storage needs")


def _file(path: str, info: Any) -> File:
    return File(path, int(info.size or 0), int(info.mtime_ns or 0))
