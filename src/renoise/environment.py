"""What the process must be like for the libraries to work: told in one line, before they fail over many."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from renoise.errors import ConfigError, reason
from renoise.escaping import shown

# The hub's client reads these as whole numbers when it is imported, and these as the folder of its cache.
_SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


def require_libraries() -> None:
    """Check what diffusers, transformers and the hub's client need when they are imported.

    Raises:
        ConfigError: if Python leaves out docstrings, which transformers reads, or a variable is malformed.

    Examples:
        >>> require_libraries()
    """
    if sys.flags.optimize >= 2:
        raise ConfigError(
            "Python runs with PYTHONOPTIMIZE=2 (or -OO), which leaves out the docstrings that transformers reads",
            remedy="run it with PYTHONOPTIMIZE=1 (or -O), or without",
        )
    for name in _SECONDS:
        value = os.environ.get(name)
        if value and not _is_whole(value):
            raise ConfigError(
                f"the environment variable {name} must be a whole number of seconds above 0, not {shown(value, 80)!r}",
                remedy="correct it or unset it",
            )


def require_hub() -> None:
    """Check the variables that say where the model hub and its cache are.

    Raises:
        ConfigError: if one is malformed, or names a file where a folder is needed.

    Examples:
        >>> require_hub()
    """
    require_libraries()
    for name in _FOLDERS:
        value = os.environ.get(name)
        problem = None if not value else _not_a_folder(os.path.expandvars(value))
        if problem is not None:
            raise ConfigError(
                f"the environment variable {name} must name a folder, but {shown(value, 200)} {problem}",
                remedy="correct it or unset it",
            )
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint is not None and not _is_address(endpoint):
        raise ConfigError(
            f"the environment variable HF_ENDPOINT must be an address such as https://huggingface.co, not "
            f"{shown(endpoint, 200)!r}",
            remedy="correct it or unset it",
        )


def _is_whole(text: str) -> bool:
    try:
        return int(text) > 0
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _not_a_folder(text: str) -> str | None:
    """Return what a path is in place of a folder; None if it is one, or does not exist yet."""
    path = Path(text)
    try:
        path = path.expanduser()
    except RuntimeError:
        return "names an unknown user"
    # A folder that does not exist yet can be made below one, but not below a file.
    for place in (path, *path.parents):
        try:
            place.stat()
        except FileNotFoundError:
            if place.is_symlink():
                return "is a link to nothing"
            continue
        except NotADirectoryError:
            continue
        except (OSError, ValueError) as error:
            return f"cannot be used ({reason(error)})"
        if place.is_dir():
            return None
        return "is a file" if place == path else f"is below {shown(place, 200)}, which is a file"
    return None
