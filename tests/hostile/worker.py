"""Runs hostile cases in a process of its own, under limits of memory and time that no honest outcome comes near.

    python -m hostile.worker AREA FOLDER PART PARTS SHARE FIRST

It writes a line of JSON before each case and one after it, so that whoever started it knows which case a dead process
died of. A case ends well in a result, or in a RenoiseError whose message is one line of bearable length.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import unicodedata
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from renoise.errors import RenoiseError, RenoiseWarning

# A name and what to do: it writes its input and uses it.
Case = tuple[str, Callable[[], object]]

SECONDS = int(os.environ.get("HOSTILE_SECONDS", "60"))
MEMORY = 3 * 2**30
LONGEST = 1300
# Of text that is shown: controls, lone surrogates, what turns its direction, and the line separators.
_STEERING = ("Cc", "Cs", "Zl", "Zp")


# What no input may make a process do, by the names of Python's audit events: start programs, or ask a network.
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
_seen: list[str] = []


class HungError(BaseException):
    """A case that took longer than any machine should need; no handler of errors may catch it."""


def faults_of(message: str) -> list[str]:
    """Return what is wrong with a message for a user."""
    found = []
    if any(unicodedata.category(character) in _STEERING for character in message):
        found.append("controls in the message")
    if len(message) > LONGEST:
        found.append(f"a message of {len(message)} characters")
    if not message.strip():
        found.append("an empty message")
    return found


def outcome(act: Callable[[], object]) -> tuple[str, str]:
    """Run a case, and return how it ended ("result", "refused" or "fault") and what it said."""
    _seen.clear()
    ended, said = _ended(act)
    return ("fault", f"{', '.join(_seen)}; {said}") if _seen else (ended, said)


def _ended(act: Callable[[], object]) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            act()
    except RenoiseError as error:
        wrong = faults_of(str(error))
        return ("fault", f"{', '.join(wrong)}: {str(error)[:300]!r}") if wrong else ("refused", str(error))
    except HungError:
        return "fault", f"took more than {SECONDS} s"
    except Exception as error:
        return "fault", f"{type(error).__name__}: {str(error)[:300]!r}"
    wrong = [w for one in told if isinstance(one.message, RenoiseWarning) for w in faults_of(str(one.message))]
    return ("fault", f"a warning: {', '.join(wrong)}") if wrong else ("result", "")


def _hung(number: int, frame: FrameType | None) -> NoReturn:
    raise HungError


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN:
        _seen.append(f"{event} {str(arguments)[:100]}")


def _limit() -> None:
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (int(used.split()[1]) * 1024 + MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _hung)


def chosen(cases: Sequence[Case], share: float, always: tuple[str, ...] = ()) -> list[Case]:
    """Return a share of the cases, chosen by a hash of their names and so the same ones every time.

    Args:
        cases: all of them.
        share: how many of them, in [0, 1].
        always: the beginnings of the names of those that are chosen in any case.
    """
    return [
        case
        for case in cases
        if case[0].startswith(always) or zlib.crc32(case[0].encode("utf-8", "replace")) < share * 2**32
    ]


def main(arguments: list[str]) -> None:
    """Run one of several parts of a share of an area's cases, from one of them on."""
    area, folder, part, parts = arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3])
    share, first = float(arguments[4]), int(arguments[5])
    module = importlib.import_module(f"hostile.{area}")
    cases = chosen(module.cases(folder), share, getattr(module, "ALWAYS", ()))[part::parts]
    _tell(count=len(cases))
    sys.addaudithook(_watch)
    if Path("/proc/self/status").exists():
        _limit()
    for number, (name, act) in list(enumerate(cases))[first:]:
        _tell(number=number, name=name)
        # Code outside Python does not see the alarm; the process is ended then.
        faulthandler.dump_traceback_later(2 * SECONDS, exit=True)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            ended, said = outcome(act)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _tell(number=number, ended=ended, said=said)
    faulthandler.cancel_dump_traceback_later()


def _tell(**facts: Any) -> None:
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
