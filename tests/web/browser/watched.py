"""Run `renoise` as its command does, watched and where a test wants it slowed down.

`python watched.py FOLDER web --port 7860` writes each host that the process looks up or connects to as a line to
FOLDER/addresses.txt. While there is a file FOLDER/slow, network passes take so many seconds more as it says.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

NETWORK = "UNet2DConditionModel"  # by its name: importing it takes seconds, and the libraries talk meanwhile
EVENTS = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.sendto": 1}


def watch(notes: Path) -> None:
    """Write a line to a file for each host that this process looks up, connects to or sends to from now on."""
    lines = notes.open("a", buffering=1)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            address = arguments[EVENTS[event]]
            host = address[0] if isinstance(address, tuple) else address
            lines.write(f"{host.decode() if isinstance(host, bytes) else host}\n")

    sys.addaudithook(note)


def slow_down(flag: Path) -> None:
    """Let network passes take longer while there is a file."""

    def wait(module: torch.nn.Module, _: Any) -> None:
        if type(module).__name__ == NETWORK and flag.exists():
            time.sleep(float(flag.read_text()))

    torch.nn.modules.module.register_module_forward_pre_hook(wait)


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    watch(folder / "addresses.txt")
    slow_down(folder / "slow")
    from renoise.cli import main

    main()
