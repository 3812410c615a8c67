"""What the libraries need of the process is told in one line that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from renoise import ConfigError, Editor
from renoise.cli.entry import run
from renoise.environment import require_hub, require_libraries
from renoise.loading.downloads import Cache

HUB = "renoise-tests/never-asked-for"


@pytest.mark.parametrize("name", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
@pytest.mark.parametrize("value", ["abc", "x", "1.5", "-3", "0", "ten", "1e3", "\x1b[31m"])
def test_numbers_that_are_none_name_their_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"variable {name} must be a whole number") as caught:
        require_libraries()
    assert "\x1b" not in str(caught.value)


def test_numbers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("10", " 5 ", ""):
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", value)
        require_libraries()


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("kind", ["file", "below", "loop", "dangling"])
def test_folders_that_are_none_name_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv(name, str(tmp_path / "file" / "hub" if kind == "below" else tmp_path / kind))
    with pytest.raises(ConfigError, match=f"variable {name} must name a folder"):
        require_hub()
    with pytest.raises(ConfigError, match=name):
        Cache()
    with pytest.raises(ConfigError, match=name):
        Editor.from_pretrained(HUB, device="cpu")


def test_a_folder_that_is_to_be_made_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "to" / "be" / "made"))
    require_hub()


@pytest.mark.parametrize("value", ["nonsense", "", "ftp://host", "https://", "http://[bad", "https://host:port", "//x"])
def test_an_address_that_is_none_names_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(ConfigError, match="variable HF_ENDPOINT must be an address"):
        require_hub()


def test_an_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("https://huggingface.co", "http://localhost:8080", "https://mirror.example/hub/"):
        monkeypatch.setenv("HF_ENDPOINT", value)
        require_hub()


@pytest.mark.parametrize("command", ["models", "invert"])
def test_the_command_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "soon")
    Image.new("RGB", (64, 64)).save(tmp_path / "cat.png")
    assert run(["models"] if command == "models" else ["invert", str(tmp_path / "cat.png"), "--prompt", "a cat"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("renoise: error: the environment variable HF_HUB_DOWNLOAD_TIMEOUT must be")


def test_python_without_docstrings_is_refused() -> None:
    code = "import renoise\ntry: renoise.Editor\nexcept renoise.ConfigError as error: print(error)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Python runs with PYTHONOPTIMIZE=2")


@pytest.mark.slow
def test_the_command_says_that_docstrings_are_gone(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "cat.png")
    command = [sys.executable, "-OO", "-m", "renoise", "invert", str(tmp_path / "cat.png"), "--prompt", "a"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("renoise: error: Python runs with PYTHONOPTIMIZE=2")
