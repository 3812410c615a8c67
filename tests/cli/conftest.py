"""The command, run in this process on a tiny pipeline, in an empty folder with one image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import Editor
from renoise.cli.entry import run

TINY = Path(__file__).parents[1] / "data" / "tiny-sd"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if "using the bundled model" not in line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("renoise: error: ")
        return lines[0].removeprefix("renoise: error: ")


Renoise = Callable[..., Outcome]


@pytest.fixture
def renoise(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Renoise:
    """Run the command and catch what it says."""
    # Continuous integration asks typer for colours in its help.
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)

    def call(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def on_tiny(renoise: Renoise) -> Renoise:
    """The same with the tiny pipeline and, where it inverts, two steps and the paper's settings.

    A network without training is hard to invert. The default preset tries for long, and warns that it could not.
    """

    def call(command: str, source: str | Path, *arguments: str | Path) -> Outcome:
        inverts = command in ("edit", "invert") and not str(source).endswith(".safetensors")
        settings = {"--steps": "2", "--preset": "paper"} if inverts else {}
        added = [part for name, value in settings.items() if name not in arguments for part in (name, value)]
        return renoise(command, source, "--model", TINY, "--device", "cpu", *added, *arguments)

    return call


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test: what can be refused without it, is."""

    def load(*args: object, **kwargs: object) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(Editor, "from_pretrained", load)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> Path:
    """The current folder: empty but for `cat.png`."""
    monkeypatch.chdir(tmp_path)
    picture.save("cat.png")
    return tmp_path


@pytest.fixture(scope="session")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inversion of some image, made once."""
    folder = tmp_path_factory.mktemp("inverted")
    Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), 40).convert("RGB").save(folder / "tree.png")
    path = folder / "tree.safetensors"
    arguments = ["invert", str(folder / "tree.png"), "-p", "a tree", "-o", str(path), "--steps", "2", "--quiet"]
    arguments += ["--preset", "paper"]
    assert run([*arguments, "--model", str(TINY), "--device", "cpu"]) == 0
    return path


@pytest.fixture
def files(folder: Path) -> Callable[[], set[str]]:
    """Lists every file below the current folder, hidden and temporary ones too."""
    return lambda: {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
