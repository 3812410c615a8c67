"""From arguments to an exit code: runs the command line and turns whatever goes wrong into one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from renoise.cli.failures import INTERRUPTED, UsageError, explain, no_command_yet
from renoise.escaping import escaped

# What a shell reports of a program whose reader went away: 128 + SIGPIPE.
_BROKEN_PIPE = 141
# Where rich and typer look for the width of the terminal, and the fewest columns that hold an option with its help.
_WIDTHS = ("COLUMNS", "TERMINAL_WIDTH")
_NARROWEST = 20


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; nothing is raised.

    Args:
        arguments: those of the process, without the program's name; none asks for help.
    """
    _survive_any_text()
    _forget_absurd_widths()
    with no_command_yet(), _interrupts() as interrupt:
        try:
            code = _command(list(arguments) or ["--help"])
            return interrupt.told() if code == INTERRUPTED else code
        except BaseException as error:
            if interrupt.came is not None or isinstance(error, KeyboardInterrupt):
                return interrupt.told()
            if isinstance(error, BrokenPipeError):
                _discard_output()
                return _BROKEN_PIPE
            if isinstance(error, SystemExit):
                return error.code if isinstance(error.code, int) else 1
            if "--debug" in arguments:
                traceback.print_exc()
            line, code = explain(error)
            _complain(f"renoise: error: {line}")
            return code


def _command(arguments: list[str]) -> int:
    """Parse the arguments, do what they say, and write the result to standard output."""
    try:
        from typer.main import get_command

        from renoise.cli.app import app
    except ImportError as error:
        raise UsageError(f"the command needs a package that is not installed ({error}); reinstall renoise") from error
    result: Any = get_command(app).main(args=arguments, prog_name="renoise", standalone_mode=False)
    if isinstance(result, int):
        return result
    if isinstance(result, str) and result and sys.stdout is not None:
        # The lines are made of strings that were escaped one by one: none that was forgotten reaches the terminal raw.
        sys.stdout.write("".join(f"{escaped(line)}\n" for line in result.split("\n")))
    if sys.stdout is not None:
        # Now, and not when the interpreter ends, so that a full disk or a closed pipe is noticed here.
        sys.stdout.flush()
    return 0


# Ctrl-C, an order to end, and a terminal that was closed. In each case what is half done is cleared away first.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Interrupt:
    """Remembers that an order to end came: libraries may turn the KeyboardInterrupt into another error."""

    came: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = number
        raise KeyboardInterrupt

    def told(self) -> int:
        """Say that the command was ended, and return its exit code, which is 128 and the number of the signal."""
        ended = self.came not in (None, signal.SIGINT)
        _complain(f"renoise: {'terminated' if ended else 'interrupted'}")
        return 128 + self.came if ended and self.came is not None else INTERRUPTED


@contextlib.contextmanager
def _interrupts() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    # A process that was started with one of them ignored (in the background of a script) goes on ignoring it.
    handled = [number for number, handler in previous.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in handled:
            signal.signal(number, interrupt)
    except ValueError:  # not the main thread, which is the one that gets the signals
        handled = []
    try:
        yield interrupt
    finally:
        for number in handled:
            signal.signal(number, previous[number])


def _survive_any_text() -> None:
    """Print what the terminal's encoding lacks as escapes: a prompt in another script must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _forget_absurd_widths() -> None:
    """Take widths of a terminal that nothing can be written in out of this process's environment."""
    for name in _WIDTHS:
        width = os.environ.get(name, "")
        if width and not (width.isascii() and width.isdigit() and len(width) < 5 and int(width) >= _NARROWEST):
            del os.environ[name]


def _complain(line: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _discard_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush does not fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
