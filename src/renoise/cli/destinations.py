"""Where results go: names, folders, and whether they can be written, decided before any work is done."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from renoise.cli.failures import UsageError

# At four bytes a character this still leaves room, in 255, for the number, the suffix and a temporary name around them.
_SLUG_LENGTH = 56


@dataclass(frozen=True)
class Destinations:
    """The files to write, and the folder that has to be made for them, if any."""

    files: tuple[Path, ...]
    new_folder: Path | None = None

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            ImageError: if it cannot be made.
        """
        from renoise.errors import ImageError

        if self.new_folder is None:
            return
        try:
            self.new_folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ImageError(f"cannot make the folder {self.new_folder}: {error.strerror}") from error


def for_edits(
    output: str | None, source: Path, targets: Sequence[str], strengths: Sequence[float | None] = (None,)
) -> Destinations:
    """Choose one file for each edit: each target prompt at each strength.

    Args:
        output: what `-o` says: a file for one edit, or a folder, which exists, ends in a slash, or takes several
            edits. None is a name made from the source's, in the current folder.
        source: the image or inversion that is edited.
        targets: the prompts.
        strengths: how much each changes; several stand in the names, and None does not.

    Raises:
        UsageError: if several edits shall go to one file, or no file is named.
        ImageError: if something there cannot be written.
    """
    single = len(targets) * len(strengths) == 1
    if output is None:
        output = f"{source.stem}.edited.png" if single else f"{source.stem}.edited{os.sep}"
    if not output.strip():
        raise UsageError("-o is empty; name a file, or a folder with a slash at its end")
    path = Path(output)
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if single and not path.is_dir() and not output.endswith(separators):
        require_image_path(path)
        return Destinations((path,))
    if path.suffix and not path.is_dir() and not output.endswith(separators):
        raise UsageError(
            f"several edits do not fit into one file, {path}; name a folder: -o {shlex.quote(path.stem + os.sep)}"
        )
    folder_exists = _require_folder(path)
    names = [
        slug(target) if len(strengths) == 1 else f"{slug(target)}-{strength:g}"
        for target in targets
        for strength in strengths
    ]
    files = tuple(path / f"{number:02d}-{name}.png" for number, name in enumerate(names, start=1))
    if folder_exists:
        for file in files:
            require_image_path(file)
    return Destinations(files, None if folder_exists else path)


def for_masks(path: Path | None, count: int) -> tuple[Path, ...]:
    """Choose one file for each of so many masks: the path itself for one, and numbered ones beside it for several.

    Raises:
        ImageError: if one of them cannot be written.

    Examples:
        >>> [one.name for one in for_masks(Path("mask.png"), 2)]
        ['mask-01.png', 'mask-02.png']
    """
    if path is None:
        return ()
    files = (path,) if count == 1 else tuple(path.with_stem(f"{path.stem}-{i + 1:02d}") for i in range(count))
    for file in files:
        require_image_path(file)
    return files


def slug(prompt: str) -> str:
    """Return a prompt as part of a file name.

    Examples:
        >>> slug("A dog, noto style!")
        'a-dog-noto-style'
    """
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", prompt).lower())
    short = ""
    for word in words:
        if len(short) + 1 + len(word) > _SLUG_LENGTH:
            break
        short = f"{short}-{word}" if short else word
    return short or "".join(words)[:_SLUG_LENGTH] or "empty"


def require_image_path(path: Path) -> None:
    """Raise an `ImageError` if an image cannot be written to `path`."""
    from renoise.images import check_writable

    check_writable(path)


def require_inversion_path(path: Path) -> None:
    """Raise an `ImageError` if an inversion cannot be written to `path`."""
    from renoise.images import check_writable

    check_writable(path, suffixes=(".safetensors",))


def require_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise a `UsageError` if an output would replace an input or another output."""
    seen: list[Path] = []
    for output in outputs:
        if any(_same_file(output, path) for path in inputs):
            raise UsageError(f"{output} is what is read and would be overwritten; write to another file")
        if any(_same_file(output, path) for path in seen):
            raise UsageError(f"{output} would be written twice; name different files")
        seen.append(output)


def _require_folder(path: Path) -> bool:
    """Tell whether the folder is there already, and raise if it can be neither used nor made."""
    from renoise.errors import ImageError

    if path.is_dir():
        return True
    if "\0" in str(path):
        raise ImageError(f"{path} is no usable name", remedy="name a folder for the images")
    if os.path.lexists(path):
        raise ImageError(f"{path} is a file or a link to none", remedy="name a folder for the images")
    if not path.parent.is_dir():
        raise ImageError(f"the folder {path.parent} does not exist", remedy="create it first")
    if not os.access(path.parent, os.W_OK):
        raise ImageError(f"the folder {path.parent} cannot be written to", remedy="choose another")
    return False


def _same_file(a: Path, b: Path) -> bool:
    if a.exists() and b.exists():
        return a.samefile(b)
    # Where they would be. Unlike `Path.resolve` it does not mind links that lead back to themselves.
    return os.path.realpath(a) == os.path.realpath(b)
