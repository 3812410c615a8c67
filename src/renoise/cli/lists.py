"""Lists of numbers as one word of the command line: 999,749,499."""

from __future__ import annotations

import typer


def numbers_in(text: str | None) -> tuple[float, ...] | None:
    """Return the numbers of a list, whole ones as whole numbers; None for None.

    Raises:
        ValueError: if it is no such list.

    Examples:
        >>> numbers_in("14.6, 3,0.4")
        (14.6, 3, 0.4)
    """
    if text is None:
        return None
    return tuple(int(one) if one.strip().isdecimal() else float(one) for one in text.split(","))


def checked_list(text: str | None) -> str | None:
    """Refuse an option's value that is no list of numbers.

    Raises:
        typer.BadParameter: if it is none.
    """
    try:
        numbers_in(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of numbers such as 999,749,499") from error
    return text
