"""The panels of the help, and what options say that stand in two of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import typer

from renoise.cli import values

# An option for a panel of the help.
_Option = Callable[..., Any]
changing: _Option = partial(typer.Option, rich_help_panel="What to change")
inverting: _Option = partial(typer.Option, rich_help_panel="How to invert")
part: _Option = partial(typer.Option, rich_help_panel="Parts of the method")
model: _Option = partial(typer.Option, rich_help_panel="Model")
output: _Option = partial(typer.Option, rich_help_panel="Output")

NEGATIVE_PROMPT = {
    "metavar": "TEXT",
    "parser": values.readable,
    "help": "What the image shall not show, where guidance is used.",
}

GUIDANCE_RESCALE = {
    "metavar": "R",
    **values.decimal(0.0, 1.0),
    "help": "How far guided predictions are brought back to the deviation of unguided ones, from 0 to 1; for Stable "
    "Diffusion, SDXL and HunyuanDiT with guidance.",
}
