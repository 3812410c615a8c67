"""The command line: which commands there are.

A command is a function whose parameters are options (see `renoise.cli.options`) and whose docstring is its help. Heavy
libraries are imported inside the commands, so that `renoise --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from renoise.cli import options as o
from renoise.cli.commands import edit, invert, reconstruct
from renoise.cli.evaluate import evaluate
from renoise.cli.groups import flattened
from renoise.cli.info import info

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from renoise import __version__

        typer.echo(f"renoise {__version__}")
        raise typer.Exit


@app.callback()
def _renoise(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Invert real images into the noise of a text-to-image model and edit them with a prompt."""


def models(reporting: o.Describing, name: o.ModelName = None) -> str:
    """List well-known models, what they need and allow, and which are on this machine.

    For example: renoise models stabilityai/sdxl-turbo
    """
    from renoise.cli import models as listing

    return listing.models(name, json=reporting.json)


_COMMANDS: dict[str, Callable[..., str]] = {
    "edit": edit,
    "invert": invert,
    "reconstruct": reconstruct,
    "info": info,
    "evaluate": evaluate,
    "models": models,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(flattened(_command))
