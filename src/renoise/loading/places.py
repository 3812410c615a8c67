"""Where a name points: to a folder or file on this machine, or to a repository on the model hub."""

from __future__ import annotations

from pathlib import Path

from renoise.errors import ModelError, Parts


def is_hub_name(name: str) -> bool:
    """Tell whether a name has the form of a hub name, owner/name.

    Examples:
        >>> is_hub_name("stabilityai/sd-turbo"), is_hub_name("./model")
        (True, False)
    """
    return name.count("/") == 1 and not name.startswith((".", "~", "/"))


def place_of(noun: str, name: str, *, neither: str = "", remedy: Parts = ()) -> Path | None:
    """Return the folder or file that a name points to; None for the hub name of something that is not here.

    Args:
        noun: what is looked for, such as "model".
        name: a path or a hub name.
        neither: what the name is not either, for the message, such as "bundled nor ".
        remedy: what to do if it is neither.

    Raises:
        ModelError: if there is no such folder or file, and the name has not the form of a hub name.
    """
    argument = noun.lower()
    try:
        path = Path(name).expanduser()
        is_here = bool(name) and (path.is_dir() or path.is_file())
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"{noun} {name[:80]!r} is not known, and no usable path: {error}"
        raise ModelError(problem, argument=argument) from error
    if is_here:
        return path
    if not is_hub_name(name):
        raise ModelError(
            f"{noun} {name!r} is not known: it is neither {neither}a folder nor a .safetensors file here, and a model "
            "hub name has the form owner/name",
            argument=argument,
            remedy=remedy,
        )
    return None
