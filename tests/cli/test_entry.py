"""The process around the commands: help, version, exit codes, streams, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import renoise as package
from renoise.cli.work import Work

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"

COMMANDS = ("edit", "invert", "reconstruct", "info")


# Says "ready" as soon as `main` reads its modules: from there on it answers for interrupts, as no line before does.
BEGIN = """
import sys
from renoise.cli import main

class Ready:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "renoise.cli.entry":
            sys.meta_path.remove(Ready)
            print("ready", flush=True)

sys.meta_path.insert(0, Ready)
main()
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command in a separate process, which says when it has begun."""

    def obey_interrupts() -> None:
        # pytest may run with interrupts ignored, as background jobs do; what a user starts does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    child = subprocess.Popen(
        [sys.executable, "-c", BEGIN, *arguments, "--model", str(TINY), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=obey_interrupts,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help(renoise: Renoise, arguments: list[str]) -> None:
    shown = renoise(*arguments)
    assert (shown.code, shown.err) == (0, "")
    for command in COMMANDS:
        assert f" {command} " in shown.out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_a_command(renoise: Renoise, command: str, flag: str) -> None:
    shown = renoise(command, flag)
    assert (shown.code, shown.err) == (0, "")
    assert f"renoise {command}" in shown.out
    assert "--json" in shown.out


def test_version(renoise: Renoise) -> None:
    assert renoise("--version").out == f"renoise {package.__version__}\n"


def test_help_answers_at_once() -> None:
    code = (
        "import sys; from renoise.cli.entry import run; code = run(['edit', '--help']); "
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'PIL', 'safetensors'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_info_needs_no_diffusers(inverted: Path) -> None:
    code = (
        f"import sys; from renoise.cli.entry import run; code = run(['info', {str(inverted)!r}]); "
        "heavy = {'diffusers', 'transformers'} & set(sys.modules); sys.exit(f'{heavy}' if heavy else code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_in_a_process_of_its_own(files: Files) -> None:
    """The whole way: the exit code, the streams, and no noise of the libraries."""
    child = start("edit", "cat.png", "-p", "a cat", "--to", "a dog", "--steps", "2", "-o", "dog.png")
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    assert out.startswith("wrote dog.png\n")
    assert files() == {"cat.png", "dog.png"}


# At once, while it imports, and while it loads or works (where exactly does not matter).
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 1.0, 2.5])
def test_interrupt_ends_cleanly(files: Files, delay: float) -> None:
    child = start("edit", "cat.png", "-p", "a", "--to", "b", "--steps", "1000", "--renoise", "50", "-o", "out/")
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, "", "renoise: interrupted\n")
    assert files() == {"cat.png"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupt_while_working(
    on_tiny: Renoise, files: Files, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error("as a library may turn it into an error of its own") from None

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(Work, "edit", interrupted)
        done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.code, done.out, done.err) == (130, "", "renoise: interrupted\n")
    assert files() == {"cat.png"}


# A result long enough to overflow any buffer, from a command that imports nothing.
TALKATIVE = (
    "import sys; from renoise.cli import info; info.info = lambda source: 'x' * 1_000_000; "
    "from renoise.cli import main; sys.argv = ['renoise', 'info', 'any']; main()"
)


def test_a_reader_that_goes_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", TALKATIVE], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", TALKATIVE], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"renoise: error: No space left on device\n")


def test_python_dash_m_is_the_command() -> None:
    source = Path(sys.modules["renoise"].__file__ or "").with_name("__main__.py")
    assert "from renoise.cli import main" in source.read_text()
