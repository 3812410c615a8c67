"""`renoise web`: what it refuses before anything slow happens, and what it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

Renoise = Callable[..., Any]


def installed(**versions: str) -> Callable[[str], str]:
    def version(package: str) -> str:
        if package not in versions:
            raise PackageNotFoundError(package)
        return versions[package]

    return version


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renoise.cli.web.version", installed(gradio="6.31.0"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, gradio: None) -> list[tuple[Any, Any]]:
    """What would have been served, with nobody waiting for it."""
    found: list[tuple[Any, Any]] = []

    @contextmanager
    def serving(studio: Any, address: Any) -> Iterator[str]:
        found.append((studio, address))
        yield "http://127.0.0.1:7860/"

    monkeypatch.setattr("renoise.web.server.serving", serving)
    monkeypatch.setattr("renoise.cli.web._wait", lambda: None)
    return found


@pytest.mark.parametrize(
    ("versions", "options", "problem"),
    [
        ({}, [], "renoise web needs a package that is not installed (gradio); run: pip install 'renoise[web]'"),
        ({"gradio": "3.50.2"}, [], "renoise web needs gradio 6.31 or newer, and 3.50.2 is installed; run: pip install"),
        ({"gradio": "6.30.9"}, [], "renoise web needs gradio 6.31 or newer"),
        ({"gradio": "6.31.0"}, ["--mcp"], "renoise web needs a package that is not installed (mcp); run: pip install"),
        ({"gradio": "6.31.0"}, ["--user", "anna"], "--user wants a name and a password with a colon between them"),
        ({"gradio": "6.31.0"}, ["--user", ":x"], "--user wants a name and a password"),
        ({"gradio": "6.31.0"}, ["--port", "70000"], "Invalid value for '--port'"),
        ({"gradio": "6.31.0"}, ["--queue", "0"], "Invalid value for '--queue'"),
        (
            {"gradio": "6.31.0"},
            ["--preset", "exact"],
            "Invalid value for '--preset': preset 'exact' says how",
        ),
        ({"gradio": "6.31.0"}, ["--preset", "lcm-4:exact"], "Invalid value for '--preset'"),
        ({"gradio": "6.31.0"}, ["--max-pixels", "many"], "Invalid value for '--max-pixels'"),
    ],
)
def test_it_is_refused_in_one_line_before_a_model_is_loaded(
    renoise: Renoise, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], options: list[str], problem: str
) -> None:
    monkeypatch.setattr("renoise.cli.web.version", installed(**versions))
    done = renoise("web", *options)
    assert done.code == 2
    assert done.error.startswith(problem)


def test_it_serves_a_few_step_model_on_this_machine_alone(renoise: Renoise, started: list[Any]) -> None:
    done = renoise("web")
    assert (done.code, done.out) == (0, "")
    assert "the page is at http://127.0.0.1:7860/ (Ctrl-C ends it)" in done.err
    ((studio, address),) = started
    assert (studio.loaded.model, studio.loaded.options) == ("mini-turbo", [])
    assert (address.host, address.port, address.user) == ("127.0.0.1", 7860, None)
    assert [address.share, address.open, address.mcp] == [False] * 3


def test_options_reach_the_page(renoise: Renoise, started: list[Any]) -> None:
    options = ["--model", "mini", "--dtype", "float32", "--device", "cpu", "--host", "0.0.0.0", "--port", "8080"]
    options += [
        "--user",
        "anna:a:b",
        "--share",
        "--open",
        "--max-pixels",
        "1000",
        "--max-megabytes",
        "2",
        "--queue",
        "3",
    ]
    assert renoise("web", *options).code == 0
    ((studio, address),) = started
    assert (studio.loaded.model, studio.loaded.options) == ("mini", ["--device", "cpu", "--dtype", "float32"])
    assert (studio.limits.pixels, studio.limits.upload_bytes, studio.limits.queue) == (1000, 2 * 2**20, 3)
    assert (address.host, address.port, address.user) == ("0.0.0.0", 8080, ("anna", "a:b"))
    assert address.share
    assert address.open


def test_the_page_is_of_a_model_of_a_few_steps(renoise: Renoise, started: list[Any]) -> None:
    assert renoise("web", "--model", "mini", "--preset", "lcm-4").code == 0
    ((studio, _),) = started
    assert (studio.loaded.options, studio.loaded.preset) == ([], "lcm-4")
    assert type(studio.editor.pipe.scheduler).__name__ == "LCMScheduler"
    assert studio.editor.config("balanced").num_steps == 4


def test_a_page_for_everyone_is_remarked_on(renoise: Renoise, started: list[Any]) -> None:
    assert "everyone who reaches 0.0.0.0 can use the page" in renoise("web", "--host", "0.0.0.0").err
    assert "everyone" not in renoise("web", "--host", "0.0.0.0", "--user", "a:b").err


def test_a_password_may_stand_in_the_environment(
    renoise: Renoise, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENOISE_WEB_USER", "anna:secret")
    assert renoise("web", "-q").err == ""
    assert started[0][1].user == ("anna", "secret")


def test_the_help_says_what_is_safe(renoise: Renoise) -> None:
    told = " ".join(renoise("web", "--help").out.replace("│", " ").split())
    assert "The default is this machine alone" in told
    assert "renoise[mcp]" in told
