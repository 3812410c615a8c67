"""Lists of numbers as one word of the command line: 999,749,499."""

from __future__ import annotations

import typer

from renoise.cli import values
from renoise.ranges import LARGEST_SEED


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


def shares_in(text: str | None) -> tuple[float, ...] | None:
    """Return the numbers from 0 to 1 of a list, each of them once; None for None.

    Raises:
        typer.BadParameter: if one of them is no such number, or is given twice.

    Examples:
        >>> shares_in("0, 0.5,1")
        (0.0, 0.5, 1.0)
    """
    if text is None:
        return None
    read = values.decimal(0.0, 1.0)["parser"]
    shares = tuple(read(one.strip()) for one in text.split(","))
    twice = next((share for share in shares if shares.count(share) > 1), None)
    if twice is not None:
        raise typer.BadParameter(f"{twice:g} is given more than once")
    return shares


def checked_shares(text: str | None) -> str | None:
    """Refuse an option's value that is no list of numbers from 0 to 1, as `shares_in` does."""
    shares_in(text)
    return text


def seeds_in(text: str | None) -> tuple[int, ...] | None:
    """Return the seeds of a list, each of them once; None for None.

    Raises:
        typer.BadParameter: if one of them is no seed, or is given twice.

    Examples:
        >>> seeds_in("0,1, 2")
        (0, 1, 2)
    """
    if text is None:
        return None
    read = values.whole(0, LARGEST_SEED)["parser"]
    seeds = tuple(read(one.strip()) for one in text.split(","))
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise typer.BadParameter(f"the seed {twice} is given more than once")
    return seeds


def checked_seeds(text: str | None) -> str | None:
    """Refuse an option's value that is no list of seeds, as `seeds_in` does."""
    seeds_in(text)
    return text
