"""Start `renoise web` as its own process, and stop it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WATCHED = Path(__file__).with_name("watched.py")
START_S = 300


@dataclass(frozen=True)
class Served:
    """A running `renoise web`."""

    url: str
    folder: Path

    @property
    def said(self) -> str:
        """What the command has printed so far."""
        return (self.folder / "output.txt").read_text()

    @property
    def hosts(self) -> set[str]:
        """The hosts that the process has looked up or connected to so far."""
        return set((self.folder / "addresses.txt").read_text().split())

    @contextmanager
    def slowed(self, seconds: float) -> Iterator[None]:
        """Let each network pass take some seconds more within the block."""
        flag = self.folder / "slow"
        flag.write_text(str(seconds))
        try:
            yield
        finally:
            flag.unlink()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return True  # it wants to know who asks
    except OSError:
        return False


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Served]:
    """Run `renoise web` until the end of the block; it serves when the block begins."""
    port = free_port()
    one = Served(f"http://127.0.0.1:{port}/", folder)
    arguments = ["web", "--model", "mini-turbo", "--port", str(port), *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRADIO_")}
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(WATCHED), str(folder), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        end = time.monotonic() + START_S
        while not answers(one.url):
            assert process.poll() is None, f"renoise web ended with {process.returncode}: {one.said}"
            assert time.monotonic() < end, f"renoise web does not serve after {START_S} s: {one.said}"
            time.sleep(0.2)
        yield one
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
