"""Text from outside in the files of a run: in Markdown, in a spreadsheet, in a plot.

Names of images, prompts, labels and what libraries say of a failure come from outside. Each reader takes some of their
characters for commands.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from renoise.escaping import shown

# As long as the reasons of a row that failed in several ways are; names and prompts are shorter.
LONGEST = 2000
# What spreadsheets begin a formula with, in narrow and in full-width characters (OWASP, "CSV Injection").
_NARROW = ("=", "+", "-", "@")
_FORMULA = (*_NARROW, *(chr(ord(sign) + 0xFEE0) for sign in _NARROW))
# Code, cells, links, tags, entities, and backslashes that would take the meaning of an escape.
_MARKUP = re.compile(r"[`|]|\[|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\\(?=[!-/:-@\[-`{-~])")
# The lines of a label in a plot, and how many of them have room.
_PLOT_WIDTH, _PLOT_LINES = 26, 4


def in_markdown(text: str, limit: int = LONGEST) -> str:
    r"""Return text on one line, of at most `limit` characters, that Markdown shows as it is, in a table as well.

    Examples:
        >>> in_markdown("<b>|`a`"), in_markdown("+ averaging")
        ('\\<b>\\|\\`a\\`', '+ averaging')
    """
    return _MARKUP.sub(r"\\\g<0>", shown(text, limit))


def in_spreadsheet(value: Any) -> Any:
    """Return a cell of a table for spreadsheets; text that would be a formula follows an apostrophe.

    Examples:
        >>> in_spreadsheet("=1+1"), in_spreadsheet("a cat"), in_spreadsheet(-0.5)
        ("'=1+1", 'a cat', -0.5)
    """
    if not isinstance(value, str):
        return value
    # Spreadsheets pass over blanks before a formula; a tab or a line break among them is escaped below.
    risky = value.strip().startswith(_FORMULA) or value[:1] in ("\t", "\r", "\n")
    return ("'" if risky else "") + shown(value, LONGEST)


def in_plot(text: str, *, lines: int = _PLOT_LINES) -> str:
    r"""Return text for a plot, broken into short lines, in which dollars set no formula.

    Args:
        text: a label from outside.
        lines: the most lines to return.

    Examples:
        >>> in_plot("costs $5 and $6")
        'costs \\$5 and \\$6'
    """
    label = textwrap.fill(shown(text, lines * _PLOT_WIDTH), _PLOT_WIDTH) if lines > 1 else shown(text, 2 * _PLOT_WIDTH)
    return label.replace("$", r"\$")
