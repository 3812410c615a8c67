"""The command `renoise`: invert, reconstruct and edit images from a shell.

A consumer of `renoise.Editor` like any other. Standard output carries the result (a summary, or one JSON document),
standard error everything else. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command with the arguments of this process and end the process with its exit code."""
    try:
        from renoise.cli.entry import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the modules of the command itself were being read
        sys.stderr.write("renoise: interrupted\n")
        code = 130
    # If the KeyboardInterrupt passed through code run from a string, as libraries do, CPython remembers it as unhandled
    # and would end this process by a signal instead of its exit code. Running a string without one makes it forget.
    exec("")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C has nothing left to interrupt
    sys.exit(code)
