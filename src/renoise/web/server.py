"""Start the page: on this machine alone unless told otherwise, with every safety setting."""

from __future__ import annotations

import io
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from renoise.errors import ConfigError
from renoise.web import examples, look
from renoise.web.studio import Studio
from renoise.web.sweeping import sweeping

# Threads of Gradio's own beside those that wait for the model: uploads, comparisons, Stop.
_OTHER_THREADS = 24
# What Gradio and the libraries below it look for in the environment.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# How often files that are older than they may be are deleted, in seconds.
_SWEEP_SECONDS = 60
_FOLDER = "GRADIO_TEMP_DIR"


@dataclass(frozen=True)
class Address:
    """Where the page is found, and by whom.

    Attributes:
        host: the address on which it listens; the default is this machine alone.
        port: the port; 0 is any that is free.
        user: the name and the password that a visitor needs; None lets everyone in who reaches it.
        share: whether Gradio makes it reachable from the internet.
        open: whether a browser is opened.
        mcp: whether it is a server of the Model Context Protocol as well.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    user: tuple[str, str] | None = None
    share: bool = False
    open: bool = False
    mcp: bool = False


@contextmanager
def serving(studio: Studio, address: Address) -> Iterator[str]:
    """Serve the page, and yield its address; it ends with the block, and all its files are deleted then.

    Args:
        studio: does the work.
        address: where the page is found.

    Raises:
        ConfigError: if it cannot listen there, or cannot be shared.
    """
    port = _free_port(address)  # before anything slow
    with tempfile.TemporaryDirectory(prefix="renoise-web-") as folder, _environment({**_QUIET, _FOLDER: folder}):
        # Gradio reads the environment when it is imported, so that it is imported here.
        import gradio as gr
        from starlette.middleware import Middleware

        from renoise.web.guard import BoundedBodies
        from renoise.web.page import build

        every = min(_SWEEP_SECONDS, studio.limits.file_seconds)
        written = Path(folder) / "requests"
        page = build(studio, written, every)
        page.queue(max_size=4 * studio.limits.queue, default_concurrency_limit=None)
        theme = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=look.FONT, font_mono=look.MONO)
        theme.set(**look.COLOURS)
        bounded = [Middleware(BoundedBodies, limits=studio.limits)]
        try:
            with redirect_stdout(io.StringIO()) as said:
                _, local, public = page.launch(
                    server_name=_in_url(address.host),
                    server_port=port,
                    share=address.share,
                    inbrowser=address.open,
                    auth=address.user,
                    mcp_server=address.mcp,
                    max_file_size=studio.limits.upload_bytes,
                    max_threads=studio.limits.queue + _OTHER_THREADS,
                    allowed_paths=[str(example.path) for example in examples.bundled()],
                    show_error=True,
                    quiet=True,
                    prevent_thread_lock=True,
                    ssr_mode=False,
                    pwa=False,
                    enable_monitoring=False,
                    strict_cors=True,
                    footer_links=["api"],
                    app_kwargs={"middleware": bounded},
                    theme=theme,
                    css=look.CSS,
                )
        except OSError as error:
            raise _unserved(address, "Gradio does not start") from error
        try:
            if address.share and public is None:
                raise _unshared(said.getvalue())
            # Later than Gradio, which then finds what it wants to delete.
            with sweeping(written, studio.limits.file_seconds + 2 * every, every):
                yield public or local
        finally:
            page.close(verbose=False)


def _free_port(address: Address) -> int:
    """Return the port of an address once it is clear that it is free; 0 stands for any.

    Raises:
        ConfigError: if one cannot listen there.
    """
    try:
        family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # A port on which a server has ended just now is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:  # Python encodes names of hosts itself, and refuses some
        raise _unserved(address, str(getattr(error, "strerror", None) or "this is no address")) from error


def _unshared(said: str) -> ConfigError:
    return ConfigError(
        "the page cannot be shared",
        argument="share",
        remedy=f"serve it on this machine alone, or see what Gradio says: {' '.join(said.split())}",
    )


def _in_url(host: str) -> str:
    """Return a host as it stands in the address of a page, where those of IPv6 have brackets."""
    return f"[{host}]" if ":" in host else host


def _unserved(address: Address, why: str) -> ConfigError:
    return ConfigError(
        f"the page cannot be served at {_in_url(address.host)}:{address.port} ({why})",
        argument="port",
        remedy="give another port, or another address of this machine",
    )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have variables of the environment set for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
