"""What is taken away: files that say how they were made, and a command line that makes them again."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renoise import Inversion
from renoise.cli.entry import run
from renoise.web.forms import EditRequest, Source, read_source
from renoise.web.happenings import Edited, Inverted
from renoise.web.limits import Limits
from renoise.web.results import Writer
from renoise.web.studio import Loaded, Studio
from renoise.web.takeaway import Folder, command, png, settings_in, stem
from web.conftest import told

Make = Callable[..., EditRequest]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawing: Image.Image) -> Path:
    monkeypatch.chdir(tmp_path)
    drawing.save("red.png")
    return tmp_path


def pixels(image: Any) -> Any:
    opened = image if isinstance(image, Image.Image) else Image.open(image)
    return np.asarray(opened.convert("RGB"))


@pytest.mark.parametrize(
    ("own", "values"),
    [
        ({}, {}),
        ({"preset": "fast", "seed": 3, "fit": "stretch"}, {"strength": 0.35}),
        pytest.param(
            {"steps": 3},
            {"keep": "nothing", "guidance": 2.0, "negative_prompt": "it's blurred"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"iterations": 1}, {"strength": 1.0}, marks=pytest.mark.slow),
        pytest.param({"preset": "paper"}, {"strength": None}, marks=pytest.mark.slow),
        pytest.param({}, {"strength": None}, marks=pytest.mark.slow),
    ],
)
def test_the_command_line_draws_the_same_image(
    studio: Studio, make_request: Make, here: Path, drawing: Image.Image, own: Any, values: Any
) -> None:
    source = read_source(drawing, None, "red.png", {"prompt": "a red square", **own}, Limits())
    request = make_request(source, **values)
    (edited,) = told(studio.edit(request), Edited)
    assert run(shlex.split(command(request, studio.loaded))[1:]) == 0
    assert (pixels("edit.png") == pixels(edited.image)).all()


@pytest.mark.slow
def test_so_it_does_with_a_mask_several_targets_and_an_inversion(
    studio: Studio, make_request: Make, here: Path, drawing: Image.Image
) -> None:
    mask = Image.new("L", drawing.size)
    mask.paste(255, (0, 0, 64, 128))
    (inverted,) = told(studio.edit(make_request()), Inverted)
    writer = Writer(here, read_source(None, inverted.inversion, "red.safetensors", {}, Limits()), mask)
    results = writer.inverted(inverted)
    assert results.inversion is not None
    Path(results.inversion).rename("red.safetensors")
    assert results.given_mask is not None
    Path(results.given_mask).rename("mask.png")
    source = read_source(None, Inversion.load("red.safetensors"), "red.safetensors", {}, Limits())
    request = make_request(source, mask, targets="a blue square\na green square")
    edits = told(studio.edit(request), Edited)
    assert run(shlex.split(command(request, studio.loaded))[1:]) == 0
    written = sorted(Path("edits").iterdir())
    assert len(written) == 2
    assert all((pixels(path) == pixels(edited.image)).all() for path, edited in zip(written, edits, strict=True))


def test_the_command_line_is_short_and_safe_to_paste(make_request: Make, drawing: Image.Image) -> None:
    source = read_source(drawing, None, "-rf $(x).png", {"prompt": "a 'red' square; ls", "preset": "edit"}, Limits())
    line = command(make_request(source, keep="auto"), Loaded("mini", ("--dtype", "float32")))
    words = shlex.split(line)
    assert words[:8] == ["renoise", "edit", "./-rf $(x).png", "--model", "mini", "--dtype", "float32", "--prompt"]
    assert words[8:] == ["a 'red' square; ls", "--to", "a blue square", "--strength", "0.7", "-o", "edit.png"]


@pytest.mark.parametrize(
    ("preset", "words"),
    [("edit", ["--preset", "dmd2-4"]), ("exact", ["--preset", "dmd2-4:exact"]), (None, ["--preset", "dmd2-4"])],
)
def test_the_model_of_a_few_steps_stands_before_the_preset(
    make_request: Make, drawing: Image.Image, preset: str | None, words: list[str]
) -> None:
    source = read_source(drawing, None, "cat.png", {"prompt": "a cat", "preset": preset}, Limits())
    line = shlex.split(command(make_request(source, keep="auto"), Loaded("sdxl", preset="dmd2-4")))
    assert line[3:9] == ["--model", "sdxl", "--prompt", "a cat", *words]
    assert line.count("--preset") == 1


def test_an_edit_says_how_it_was_made(studio: Studio, make_request: Make, tmp_path: Path) -> None:
    request = make_request(targets="A blue square!")
    (edited,) = told(studio.edit(request), Edited)
    results = Writer(tmp_path, request.source).edited(edited)
    path = Path(results.edits[0].path)
    assert path.name == "01-a-blue-square.png"
    found = settings_in(path.read_bytes())
    assert (found["model"], found["prompt"], found["target"]) == ("mini-turbo", "a red square", "A blue square!")
    assert (found["strength"], found["keep"], found["seed"]) == (0.7, "auto", 0)
    assert found["config"]["num_steps"] == 4
    assert (pixels(path) == pixels(edited.image)).all()


def test_equal_edits_are_equal_files(studio: Studio, make_request: Make) -> None:
    files = [png(one.image, one.record) for _ in range(2) for one in told(studio.edit(make_request()), Edited)]
    assert files[0] == files[1]


def test_a_png_without_settings_has_none() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    assert settings_in(buffer.getvalue()) == {}


def test_files_lie_in_a_folder_that_nobody_guesses(tmp_path: Path, source: Source) -> None:
    first, second = (Path(Folder(tmp_path).write_image(Image.new("RGB", (2, 2)), "a")) for _ in range(2))
    assert first.parent != second.parent
    assert first.parent.stat().st_mode & 0o077 == 0
    assert len(first.parent.name) > 20


@pytest.mark.parametrize("hostile", ["../../x", "a/b\\c", ".", "", "\0", "x" * 300, "-rf"])
def test_no_name_leaves_its_folder(tmp_path: Path, hostile: str) -> None:
    path = Path(Folder(tmp_path).write_image(Image.new("RGB", (2, 2)), stem(hostile)))
    assert path.parent.parent == tmp_path
