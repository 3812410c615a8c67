"""Text from outside reaches the terminal escaped, on one line and cut, wherever the command prints it."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from renoise import Editor, Inversion, Progress, RenoiseWarning
from renoise.cli.entry import run
from renoise.cli.failures import UsageError, explain
from renoise.cli.report import as_json
from renoise.cli.silence import remarks
from renoise.cli.terminal import Terminal

Renoise = Callable[..., Any]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "eight bits": "\x9b31m\x85",
    "lines": "a\rb\nc\x0bd\u2028e",
    "right to left": "\u202egnp.\u2066x",
    "delete": "a\x7fb\x08c",
    "markup": "[red]a[/red] [/] [link=http://x]b :smile:",
    "long": "x" * 5000,
    "long and steering": "\x1b[31m" * 1000,
}


def clean(text: str) -> bool:
    """Tell whether a terminal shows a text as it is, and its lines are of a length that can be read."""
    return all(line.isprintable() and len(line) < 1300 for line in text.split("\n"))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", "{}", "-p", "a", "--to", "b"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "-o", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "-o", "{}.png"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "{}.png"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--compare", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--model", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--model", "mini", "--lora", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--model", "mini", "--sampler", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--device", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--dtype", "{}"),
        ("edit", "cat.png", "-p", "a", "--to", "b", "--fit", "{}"),
        ("edit", "cat.png", "{}"),
        ("edit", "--{}"),
        ("edit", "cat.png", "--steps", "{}"),
        ("invert", "{}.safetensors", "-p", "a"),
        ("reconstruct", "{}"),
        ("reconstruct", "{}.safetensors"),
        ("info", "{}"),
        ("models", "{}"),
        ("evaluate", "{}"),
        ("evaluate", "table2", "--data", "{}"),
        ("evaluate", "table2", "--seed", "{}"),
        ("{}",),
        ("--{}",),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("no_torchless_model")
def test_errors(renoise: Renoise, arguments: tuple[str, ...], name: str) -> None:
    done = renoise(*(a.replace("{}", HOSTILE[name]) for a in arguments))
    assert done.code in (1, 2)
    assert clean(done.error)


@pytest.fixture
def no_torchless_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up as ever, but no model that is found is loaded."""
    from renoise.loading import pipelines

    def load(*args: object, **options: object) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(pipelines, "_from_folder", load)


@pytest.mark.parametrize("name", HOSTILE)
def test_exceptions_of_any_kind(name: str) -> None:
    text = HOSTILE[name]

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError(text)

    for error in (
        UsageError(text),
        OSError(errno.ENOSPC, "No space left on device", text),
        OSError(text),
        ValueError(text),
        KeyError(text),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, text),
        Silent(),
    ):
        line, code = explain(error)
        assert line
        assert clean(line)
        assert "\n" not in line
        assert code in (1, 2)


@pytest.mark.parametrize("name", HOSTILE)
def test_notes_and_warnings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    text = HOSTILE[name]
    with Terminal(quiet=False) as terminal, remarks(terminal.note):
        warnings.warn(RenoiseWarning(text, remedy=text), stacklevel=1)
        logging.getLogger("renoise.loading").info("loaded %s", text)
        terminal.note(text)
        with terminal.stage(f"loading {text}") as stage:
            stage.tell(1, 2, text)
    assert clean(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 4


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["20", "80"])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_bar(monkeypatch: pytest.MonkeyPatch, name: str, columns: str) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    text = HOSTILE[name]
    with Terminal(quiet=False) as terminal, terminal.stage(f"loading {text}") as stage:
        terminal.note(text)
        stage(Progress("invert", 1, 2, 500.0, 0, 1, torch.zeros(1), None))
        stage.advance(1, 2, text)
    shown = stream.getvalue()
    # The bar moves its own cursor and has its own colours, but nothing of the text does.
    for part in ("\x1b[31mred", "\x07", "\x9b", "\u202e", "\x7f", "\x08", "\u2028"):
        assert part not in shown
    assert shown.count("x") < 2000
    if name == "markup":
        assert "renoise: [red]a[/red] [/] [link=http://x]b :smile:" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_run_says_in_the_end(on_tiny: Renoise, name: str) -> None:
    """Names of files and prompts, in the summary, in `info` and in JSON."""
    text = HOSTILE[name]
    safe = text.replace("/", "-")[:40]
    done = on_tiny("invert", "cat.png", "-p", text, "-o", f"{safe}.safetensors", "--steps", "1", "--renoise", "0")
    assert done.code == 0
    assert clean(done.out)
    assert clean(done.err)
    told = on_tiny_info(safe)
    assert clean(told)
    document = on_tiny("edit", f"{safe}.safetensors", "--to", text, "-o", f"{safe}.png", "--json").json
    assert document["prompt"] == text
    assert document["outputs"][0]["path"] == f"{safe}.png"


def on_tiny_info(name: str) -> str:
    """Say what `info` prints of a file; it takes no model."""
    stream = io.StringIO()
    before, sys.stdout = sys.stdout, stream
    try:
        assert run(["info", f"{name}.safetensors"]) == 0
    finally:
        sys.stdout = before
    return stream.getvalue()


def test_names_in_a_strangers_inversion(renoise: Renoise, inverted: Path) -> None:
    inversion = replace(Inversion.load(inverted), model_name=HOSTILE["colour"] * 200)
    inversion.save("stranger.safetensors")
    told = renoise("info", "stranger.safetensors")
    assert told.code == 0
    assert clean(told.out)
    assert r"\x1b[31mred" in told.out
    assert renoise("info", "stranger.safetensors", "--json").json["model"] == inversion.model_name


@pytest.mark.parametrize("name", HOSTILE)
def test_json_is_ascii_without_controls(name: str) -> None:
    document = as_json({HOSTILE[name]: [HOSTILE[name], "\udce9", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"]})
    assert document.isascii()
    assert all(line.isprintable() for line in document.split("\n"))
    ((key, texts),) = json.loads(document).items()
    assert key == texts[0] == HOSTILE[name]
    assert texts[1:] == ["\udce9", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"]


def test_a_text_that_was_forgotten_is_escaped_in_the_end(renoise: Renoise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renoise.cli.models.models", lambda name, json: "a\x1b[31m\nb\x07")
    assert renoise("models").out == "a\\x1b[31m\nb\\x07\n"


def test_an_unexpected_error_of_the_work(on_tiny: Renoise, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("\x1b[31m" + "x" * 5000 + "\nsecond line")

    monkeypatch.setattr(Editor, "edit", fail)
    done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--renoise", "0")
    assert done.code == 1
    assert clean(done.error)
    assert done.error.endswith("second line (use --debug for the traceback)")
