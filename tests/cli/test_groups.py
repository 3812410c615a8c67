"""Groups of options are spread out in a command's signature, and come back as one value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from renoise.cli.groups import flattened

runner = CliRunner()


@dataclass(frozen=True)
class Size:
    """Two options that commands share."""

    width: Annotated[int, typer.Option("--width", "-w")] = 8
    height: Annotated[int | None, typer.Option("--tall")] = None


def area(
    name: Annotated[str, typer.Argument()], size: Size, loud: Annotated[bool, typer.Option("--loud")] = False
) -> str:
    """Say how large it is."""
    return f"{name} {size.width} x {size.height}{'!' * loud}"


def test_the_signature_has_the_groups_fields() -> None:
    assert list(inspect.signature(flattened(area)).parameters) == ["name", "width", "height", "loud"]


def test_the_command_gets_the_group() -> None:
    assert flattened(area)(name="box", width=3, height=2, loud=True) == "box 3 x 2!"


def test_typer_reads_the_options() -> None:
    app = typer.Typer()
    app.command()(flattened(area))
    say = app(["box", "-w", "3", "--loud"], standalone_mode=False)
    assert say == "box 3 x None!"
    assert runner.invoke(app, ["box", "--width", "x"]).exit_code == 2
    assert "Say how large it is." in runner.invoke(app, ["--help"]).output
