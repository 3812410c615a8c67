"""The command line: which commands there are.

A command is a function whose parameters are options (see `renoise.cli.options`), with its help beside it: a docstring
would be lost under `python -OO`. Heavy libraries are imported inside the commands, so that `renoise --help` answers at
once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from renoise.cli import job
from renoise.cli import options as o
from renoise.cli.commands import edit, invert, reconstruct
from renoise.cli.evaluate import evaluate
from renoise.cli.failures import UsageError, offer
from renoise.cli.groups import flattened
from renoise.cli.info import info
from renoise.cli.web import web

_SHAPE: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(**_SHAPE)
jobs = typer.Typer(**_SHAPE)


def _version(asked: bool) -> None:
    if asked:
        from renoise import __version__

        typer.echo(f"renoise {__version__}")
        raise typer.Exit


@app.callback(help="Invert real images into the noise of a text-to-image model and edit them with a prompt.")
def _renoise(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Take the options that come before a command."""


def models(reporting: o.Describing, name: o.ModelName = None) -> str:
    """Return the list of models, or all about one: `renoise models`."""
    from renoise.cli import models as listing

    return listing.models(name, json=reporting.json)


class _Command(TyperCommand):
    """A command that refuses an option that is given twice where only one of the two could count.

    It says which options it has, so that no error advises another.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        offer(name for parameter in self.params if not getattr(parameter, "hidden", False) for name in parameter.opts)
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(given).items():
            if times > 1 and not option.multiple and not option.is_eager:
                raise UsageError(f"{option.opts[0]} is given more than once; give it once")
        return super().parse_args(ctx, args)


# What each command does, and an example of it.
_COMMANDS: dict[str, tuple[Callable[..., str], str, str]] = {
    "edit": (
        edit,
        "Draw an image with another prompt.",
        'renoise edit cat.png --prompt "a cat" --to "a dog" -o dog.png',
    ),
    "invert": (
        invert,
        "Save an image as noise, to edit it later.",
        'renoise invert cat.png --prompt "a cat" -o cat.safetensors',
    ),
    "reconstruct": (
        reconstruct,
        "Draw an inverted image again.",
        "renoise reconstruct cat.safetensors -o again.png",
    ),
    "info": (info, "Say what an inversion file holds.", "renoise info cat.safetensors"),
    "evaluate": (
        evaluate,
        "Measure how true reconstructions are and what edits keep, and compare methods.",
        "renoise evaluate table2 --model mini-turbo --limit 16 --out results",
    ),
    "web": (
        web,
        "Serve a page in which images are edited with a browser.",
        "renoise web --model mini-turbo --open",
    ),
    "models": (
        models,
        "List well-known models, what they need and allow, and which are on this machine.",
        "renoise models stabilityai/sdxl-turbo",
    ),
}
_JOB_COMMANDS: dict[str, tuple[Callable[..., str], str, str]] = {
    "run": (
        job.run,
        "Invert and edit all images of a data set, or those that are missing.",
        "renoise job run mini-heldout out --targets-column edits --model mini-turbo",
    ),
    "plan": (
        job.plan,
        "Try some rows, and say what the job will take: passes, time, memory and disk.",
        "renoise job plan mini-heldout --targets-column edits --model mini-turbo",
    ),
    "status": (job.status, "Say what became of the rows of a job.", "renoise job status out"),
    "retry": (job.retry, "Try the failed rows of a job again.", "renoise job retry out"),
}
for _app, _commands in ((app, _COMMANDS), (jobs, _JOB_COMMANDS)):
    for _name, (_command, _about, _example) in _commands.items():
        _app.command(_name, cls=_Command, help=f"{_about}\n\nFor example: {_example}")(flattened(_command))
app.add_typer(jobs, name="job", help="Run a whole data set, on one machine or many (needs the extra jobs).")
