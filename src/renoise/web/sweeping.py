"""Delete the files of requests once they have lain long enough.

Gradio deletes what was uploaded and what it handed out, and knows nothing of files that were written and never asked
for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread


def sweep(folder: Path, seconds: float) -> int:
    """Delete the files in a folder's folders that are older than so many seconds, and return how many there were.

    Folders that are empty then go as well.
    """
    deleted, oldest = 0, time.time() - seconds
    for own in folder.iterdir() if folder.is_dir() else ():
        old = own.stat().st_mtime < oldest  # a new one without files waits for its first
        for path in own.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    deleted, old = deleted + 1, True
        if old:
            with contextlib.suppress(OSError):  # one that is not empty stays
                os.rmdir(own)
    return deleted


@contextlib.contextmanager
def sweeping(folder: Path, seconds: float, every: float) -> Iterator[None]:
    """Sweep a folder every so many seconds, for as long as the block lasts.

    Args:
        folder: holds a folder for each request.
        seconds: how long a file may lie.
        every: how often this is looked at, in seconds.
    """
    ended = Event()

    def work() -> None:
        while not ended.wait(every):
            sweep(folder, seconds)

    thread = Thread(target=work, name="renoise-web-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
