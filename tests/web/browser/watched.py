"""Run `renoise` as its command does, and note every address that the process looks up or connects to.

`python watched.py NOTES web --port 7860` writes a line to the file NOTES for each of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

EVENTS = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.sendto": 1}


def watch(notes: Path) -> None:
    """Write a line to a file for each address that this process looks up, connects to or sends to from now on."""
    lines = notes.open("a", buffering=1)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            address = arguments[EVENTS[event]]
            host = address[0] if isinstance(address, tuple) else address
            lines.write(f"{host.decode() if isinstance(host, bytes) else host}\n")

    sys.addaudithook(note)


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    from renoise.cli import main

    main()
