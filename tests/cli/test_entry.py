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


def start(*arguments: str, ignored: tuple[signal.Signals, ...] = ()) -> subprocess.Popen[str]:
    """Start the command in a separate process, which says when it has begun."""

    def obey_interrupts() -> None:
        # pytest may run with interrupts ignored, as background jobs do; what a user starts does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

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
    child = start(
        "edit", "cat.png", "-p", "a cat", "--to", "a dog", "--steps", "2", "--preset", "paper", "-o", "dog.png"
    )
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


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_order_to_end_clears_away_what_is_half_written(
    on_tiny: Renoise, files: Files, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[BaseException]
) -> None:
    def ended(*args: object) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error("as a library may turn it into an error of its own") from None

    before = signal.getsignal(number)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", ended)
        done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--steps", "1")
    assert signal.getsignal(number) is before
    assert (done.code, done.out, done.err) == (128 + number, "", "renoise: terminated\n")
    assert files() == {"cat.png"}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_that_is_told_to_end_says_so(files: Files) -> None:
    child = start("edit", "cat.png", "-p", "a", "--to", "b", "--steps", "1000", "--renoise", "50", "-o", "out/")
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (143, "", "renoise: terminated\n")
    assert files() == {"cat.png"}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_closed_terminal_that_is_to_be_ignored_is_ignored() -> None:
    child = start("edit", "cat.png", "-p", "a", "--to", "b", "--steps", "1", ignored=(signal.SIGHUP,))
    child.send_signal(signal.SIGHUP)
    assert child.communicate(timeout=60)[0].startswith("wrote cat.edited.png")
    assert child.returncode == 0


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


def in_a_process(
    *arguments: str, environment: dict[str, str] | None = None, out: int | None = None, err: int | None = None
) -> Any:
    """Run the command in a process with other streams and variables; it loads no model."""
    return subprocess.run(
        [sys.executable, "-m", "renoise", *arguments],
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.PIPE if err is None else err,
        env={**os.environ, **(environment or {})},
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("width", ["garbage", "0", "-1", "5", "9" * 30])
@pytest.mark.parametrize("name", ["COLUMNS", "TERMINAL_WIDTH"])
def test_help_with_an_absurd_width_of_the_terminal(name: str, width: str) -> None:
    done = in_a_process("edit", "--help", environment={name: width})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Draw an image with another prompt." in done.stdout


@pytest.mark.parametrize(
    "variable", ["TERM=odd", "TERM=", "LC_ALL=C", "PYTHONIOENCODING=ascii", "NO_COLOR=1", "LINES=x"]
)
def test_help_in_any_terminal(variable: str) -> None:
    name, _, value = variable.partition("=")
    done = in_a_process("--help", environment={name: value})
    assert (done.returncode, done.stderr) == (0, "")
    assert "evaluate" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("level", ["1", "2"])
def test_help_needs_no_docstrings(level: str) -> None:
    """Python leaves docstrings out at level 2."""
    done = in_a_process("edit", "--help", environment={"PYTHONOPTIMIZE": level})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Draw an image with another prompt." in done.stdout
    assert "For example: renoise edit cat.png" in done.stdout
    commands = in_a_process("--help", environment={"PYTHONOPTIMIZE": level}).stdout
    assert "Invert real images into the noise of a text-to-image model" in commands
    assert "Save an image as noise, to edit it later." in commands


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(("out", "err", "code"), [(True, False, 1), (False, True, 2), (True, True, 2)])
def test_streams_that_take_nothing(out: bool, err: bool, code: int) -> None:
    with open("/dev/full", "w") as full:
        arguments = ["no-such-command"] if err else ["--help"]
        done = in_a_process(*arguments, out=full.fileno() if out else None, err=full.fileno() if err else None)
    assert done.returncode == code
    assert done.stderr in (None, "renoise: error: No space left on device\n")


@pytest.mark.parametrize("closed", ["1", "2", "1 2"])
def test_streams_that_are_closed(closed: str) -> None:
    code = f"import os; [os.close(int(n)) for n in '{closed}'.split()]; os.execv({sys.executable!r}, "
    for arguments, expected in ((["models"], 0), (["no-such-command"], 2)):
        argv = [sys.executable, "-m", "renoise", *arguments]
        done = subprocess.run([sys.executable, "-c", f"{code}{argv!r})"], capture_output=True, text=True)
        assert done.returncode == expected
        assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_work_goes_on_where_notes_cannot_be_written(files: Files) -> None:
    with open("/dev/full", "w") as full:
        arguments = ["edit", "cat.png", "-p", "a", "--to", "b", "--steps", "1", "--renoise", "0", "-o", "b.png"]
        done = in_a_process(*arguments, err=full.fileno())
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "wrote b.png")
    assert files() == {"cat.png", "b.png"}
