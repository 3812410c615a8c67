"""Tables for standard output: plain text, as wide as the terminal, and never cut off where there is none."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Mapping

from renoise.escaping import shown

# Without a terminal lines are not broken, so that other programs find what they look for.
_UNBROKEN = 10_000


def two_columns(rows: Mapping[str, str]) -> str:
    """Return names and values in two columns, long values wrapped in theirs.

    Examples:
        >>> print(two_columns({"fit": "crop", "steps": "2 of 2"}))
        fit    crop
        steps  2 of 2
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(shown(name)), Text(shown(value, _UNBROKEN)))
    text = io.StringIO()
    Console(file=text, width=_width(), color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _width() -> int:
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if on_terminal else _UNBROKEN
