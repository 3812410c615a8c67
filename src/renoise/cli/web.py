"""The command that serves the page: `renoise web`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from renoise.cli import options as o
from renoise.cli import values
from renoise.cli.failures import UsageError
from renoise.cli.options import ModelChoice, Reporting
from renoise.cli.panels import model, output
from renoise.cli.preset_options import FewStepModel
from renoise.cli.work import working
from renoise.web.limits import Limits

DEFAULT_MODEL = "mini-turbo"
_OLDEST_GRADIO = (6, 31)
_LARGEST_PORT = 65_535
_MOST_QUEUED = 1000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_PIXELS = 150_000_000

_page: Any = partial(typer.Option, rich_help_panel="Page")
_limit: Any = partial(typer.Option, rich_help_panel="Limits")


@dataclass(frozen=True)
class WebModel(ModelChoice):
    """Which model the page works with."""

    name: Annotated[
        str | None,
        model(
            "--model",
            "-m",
            metavar="NAME",
            parser=values.readable,
            help="mini-turbo, mini or mini-lcm, which are bundled; a pipeline directory, a .safetensors "
            "checkpoint, or a model hub name such as stabilityai/sdxl-turbo.",
        ),
    ] = DEFAULT_MODEL


@dataclass(frozen=True)
class Page:
    """Where the page is found, and by whom."""

    host: Annotated[
        str,
        _page(
            "--host",
            metavar="ADDRESS",
            parser=values.readable,
            help="The address to listen on. The default is this machine alone; 0.0.0.0 is every network it is in.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        _page("--port", metavar="N", **values.whole(0, _LARGEST_PORT), help="The port; 0 is any that is free."),
    ] = 7860
    open: Annotated[bool, _page("--open", help="Open the page in a browser.")] = False
    user: Annotated[
        str | None,
        _page(
            "--user",
            metavar="NAME:PASSWORD",
            envvar="RENOISE_WEB_USER",
            parser=values.readable,
            help="Let in only who knows this name and password. In the environment nobody else on this machine reads "
            "it.",
        ),
    ] = None
    share: Annotated[
        bool,
        _page(
            "--share",
            help="Make the page reachable from the internet through Gradio's servers. Whoever has the link uses this "
            "machine: give --user as well.",
        ),
    ] = False
    mcp: Annotated[
        bool,
        _page("--mcp", help="Serve the Model Context Protocol as well, for language models; wants renoise\\[mcp]."),
    ] = False
    max_pixels: Annotated[
        int | None,
        _limit(
            "--max-pixels",
            metavar="N",
            **values.whole(1, _MOST_PIXELS),
            help=f"The most pixels of an uploaded image; {Limits.pixels:,} by default.",
        ),
    ] = None
    max_megabytes: Annotated[
        int | None,
        _limit(
            "--max-megabytes",
            metavar="N",
            **values.whole(1, 2048),
            help=f"The largest file that is taken, in megabytes; {Limits.upload_bytes // 2**20} by default.",
        ),
    ] = None
    queue: Annotated[
        int | None,
        _limit(
            "--queue",
            metavar="N",
            **values.whole(1, _MOST_QUEUED),
            help=f"How many requests may wait while one is worked on; {Limits.queue} by default.",
        ),
    ] = None


@dataclass(frozen=True)
class Talk:
    """How the command talks."""

    quiet: Annotated[bool, output("--quiet", "-q", help="Print nothing but errors.")] = False
    debug: Annotated[bool, output("--debug", help="Show the traceback of an error and what the libraries say.")] = False


def web(
    page: Page,
    choice: WebModel,
    talk: Talk,
    sampler: o.Sampler = None,
    spacing: o.Spacing = None,
    preset: FewStepModel = None,
) -> str:
    """Serve the page until the command is interrupted: `renoise web`."""
    _require_extra(mcp=page.mcp)
    user = _user(page.user)
    with working(choice, Reporting(quiet=talk.quiet, debug=talk.debug), sampler, spacing, preset) as work:
        from renoise.web.server import Address, serving
        from renoise.web.studio import Loaded, Studio

        loaded = Loaded(work.model, _options(choice, sampler, spacing), preset)
        given = {"pixels": page.max_pixels, "queue": page.queue}
        given["upload_bytes"] = None if page.max_megabytes is None else page.max_megabytes * 2**20
        limits = Limits(**{name: limit for name, limit in given.items() if limit is not None})
        if page.host not in _LOOPBACK and user is None:
            work.note(f"everyone who reaches {page.host} can use the page; --user asks for a name and a password")
        work.note("starting the page, which takes some seconds")
        address = Address(page.host, page.port, user, share=page.share, open=page.open, mcp=page.mcp)
        with serving(Studio(work.editor, limits, loaded), address) as url:
            work.note(f"the page is at {url} (Ctrl-C ends it)")
            _wait()
    return ""


def _wait() -> None:
    """Wait until the command is interrupted."""
    threading.Event().wait()


def _options(choice: ModelChoice, sampler: str | None, spacing: str | None) -> list[str]:
    """Return the options of this command that decide results, for the command line that a client takes away."""
    single = {"--device": choice.device, "--dtype": choice.dtype, "--sampler": sampler, "--spacing": spacing}
    adapters = [word for lora in choice.lora or () for word in ("--lora", lora)]
    return [*adapters, *(word for option, value in single.items() if value is not None for word in (option, value))]


def _user(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise UsageError("--user wants a name and a password with a colon between them, such as --user anna:secret")
    return name, password


def _require_extra(*, mcp: bool) -> None:
    """Refuse to begin without the packages of the page, before anything slow is imported."""
    _require("gradio", "web", _OLDEST_GRADIO)
    if mcp:
        _require("mcp", "mcp", ())


def _require(package: str, extra: str, oldest: Sequence[int]) -> None:
    install = f"run: pip install 'renoise[{extra}]'"
    try:
        found = version(package)
    except PackageNotFoundError as error:
        raise UsageError(f"renoise web needs a package that is not installed ({package}); {install}") from error
    numbers = [int(part) for part in found.split(".")[:2] if part.isdigit()]
    if numbers < list(oldest):
        wanted = ".".join(str(part) for part in oldest)
        raise UsageError(f"renoise web needs {package} {wanted} or newer, and {found} is installed; {install}")
