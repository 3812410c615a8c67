"""What an error advises works: every value, line and option that it names is followed, and the work succeeds."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.main import get_command

import renoise
from renoise import Editor, Inversion, InversionConfig, NoiseCorrection, RenoiseError, Renoising, images
from renoise.cli.app import app
from renoise.errors import Argument
from renoise.loading.pipelines import resolve_device, resolve_dtype
from renoise.schedulers.names import sampler_class
from renoise.solvers import SOLVERS, solver_record
from tiny_pipelines import BUILDERS

SOURCE = Path(renoise.__file__).parent
PLAIN = InversionConfig(num_steps=2, renoising=Renoising(0))


def told(call: Callable[[], object]) -> str:
    """Return what the error of a call says."""
    with pytest.raises(RenoiseError) as caught:
        call()
    return str(caught.value)


def listed(text: str) -> list[str]:
    """Return the values of a list that an error ends with."""
    return re.split(r", (?:or )?| or ", re.split(r"use one of (?:the extensions )?", text)[1])


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(BUILDERS["sd15-ddim"]())


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 40).convert("RGB")


@pytest.fixture(scope="module")
def inversion(editor: Editor, image: Image.Image) -> Inversion:
    return editor.invert(image, "a", config=PLAIN)


@pytest.mark.parametrize(("iterations", "average"), [(4, (7, 10)), (0, (0, 2)), (9, (5, 99)), (3, (2, 2)), (3, (3, 1))])
def test_ranges_that_are_averaged(iterations: int, average: tuple[int, int]) -> None:
    text = told(lambda: Renoising(iterations, average=average))
    (most,) = re.findall(r"a range within \(0, (\d+)\)", text)
    assert Renoising(iterations, average=(0, int(most)))
    for least in re.findall(r"at least (\d+) iterations", text):
        assert Renoising(int(least), average=average)
    assert ("at least" in text) == (average[0] < average[1])


def test_corrections_of_noise() -> None:
    assert "use amount=0" in told(lambda: NoiseCorrection(limit=0.0))
    assert NoiseCorrection(amount=0)
    assert "leave them out" in told(lambda: NoiseCorrection(amount=0.5, moves=3))
    assert NoiseCorrection(moves=3)


def test_a_solver_is_named_by_the_line_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Halving:
        max_passes: int = 3

        def solve(self, problem: Any) -> Any:
            raise NotImplementedError

    text, held = told(lambda: solver_record(Halving())), dict(SOLVERS)
    for holder in ("renoise.solvers", "renoise.solvers.records"):
        monkeypatch.setattr(f"{holder}.SOLVERS", held)
    exec(text.split("name it: ")[1], {"renoise": renoise, "Halving": Halving})
    assert solver_record(Halving()) == {"name": "Halving", "max_passes": 3}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda: resolve_dtype("int8", torch.device("cpu")), lambda name: resolve_dtype(name, torch.device("cpu"))),
        (lambda: images.require_fit("zoom"), images.require_fit),
        (lambda: images.check_writable(Path("a.doc")), lambda suffix: images.check_writable(Path(f"a{suffix}"))),
        (
            lambda: sampler_class("best"),
            lambda name: sampler_class(name.split(": ")[-1]),
        ),
    ],
    ids=["dtype", "fit", "extension", "sampler"],
)
def test_lists_of_what_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[], object], right: Callable[[str], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = listed(told(wrong))
    assert len(names) > 2
    for name in names:
        right(name)


def test_lists_that_an_editor_gives(editor: Editor, inversion: Inversion) -> None:
    for preset in listed(told(lambda: editor.config("best"))):
        assert editor.config(preset)
    for form in listed(told(lambda: editor.edit(inversion, "b", output_type="jpg"))):
        assert editor.edit(inversion, "b", output_type=form) is not None


def test_devices() -> None:
    assert "use cpu, cuda or mps" in told(lambda: resolve_device("abacus"))
    assert resolve_device("cpu").type == "cpu"


def test_another_model_is_forced(inversion: Inversion) -> None:
    other = Editor(BUILDERS["sd-turbo"]())
    assert "give force=True to edit" in told(lambda: other.edit(inversion, "b"))
    assert other.edit(inversion, "b", force=True)


def test_kept_images_of_several_sizes(editor: Editor, image: Image.Image) -> None:
    two = [image, image.resize((80, 64))]
    text = told(lambda: editor.prepare(two, "keep"))
    fits = re.findall(r'fit="(\w+)"', text)
    assert fits == ["pad", "crop", "stretch"]
    for fit in fits:
        assert len(editor.prepare(two, fit).images) == 2


def test_an_inversion_is_saved_where_it_is_advised(inversion: Inversion, tmp_path: Path) -> None:
    text = told(lambda: inversion.save(tmp_path))
    (name,) = re.findall(r"such as (\S+)", text)
    inversion.save(name)
    assert Inversion.load(name).prompt == "a"


def test_what_is_measured_is_made_with_prepare(editor: Editor, image: Image.Image, inversion: Inversion) -> None:
    drawn = editor.reconstruct(inversion, "pt")
    prepared: Any = image
    assert "make them with prepare" in told(lambda: editor.quality(prepared, drawn))
    assert editor.quality(editor.prepare(image), drawn)


def test_an_adapter_that_is_not_there(editor: Editor, image: Image.Image) -> None:
    text = told(lambda: editor.invert(image, "a", config=PLAIN, ip_adapter_image=image))
    assert "leave ip_adapter_image out" in text
    assert editor.invert(image, "a", config=PLAIN)


def test_prompts_for_a_batch(editor: Editor, image: Image.Image) -> None:
    assert "give one, or one for each" in told(lambda: editor.invert([image, image], ["a"] * 3, config=PLAIN))
    for prompts in ("a", ["a", "b"]):
        assert editor.invert([image, image], prompts, config=PLAIN).batch_size == 2


@pytest.mark.parametrize("value", [1 / 3, 0.1, 2 / 7, 1e-9, 123456.789, 1e22, 0.3333335, 28.0, float(2**53 + 2)])
def test_numbers_that_are_advised_are_not_rounded(value: float) -> None:
    assert float(Argument("strength", value).shown) == value


@pytest.mark.parametrize("value", ['a "quoted" name', r"C:\models\new", "it's", "a b", "\N{CAT FACE}"])
def test_texts_that_are_advised_are_python(value: str) -> None:
    (call,) = ast.parse(f"f({Argument('model', value)})").body
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    assert ast.literal_eval(call.value.keywords[0].value) == value


# What messages name, as it stands in the code.


def texts() -> dict[str, list[str]]:
    """Return the strings of each module."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found[path.relative_to(SOURCE).as_posix()] = [value for value in constants if isinstance(value, str)]
    return found


def test_extras_that_are_advised_exist() -> None:
    extras = metadata("renoise").get_all("Provides-Extra") or []
    advised = {extra for own in texts().values() for text in own for extra in re.findall(r"renoise\[(\w+)\]", text)}
    assert {"mini", "evaluation"} <= advised <= set(extras)


def test_commands_and_options_that_are_advised_exist() -> None:
    commands: Any = get_command(app)
    every = [one for top in commands.commands.values() for one in (top, *getattr(top, "commands", {}).values())]
    options = {o for one in every for p in one.params for o in (*p.opts, *p.secondary_opts)}
    options |= {"--help", "--version"}
    foreign = {"--local-dir", "--include", "--upgrade"}  # of hf and pip
    own = [text for module, found in texts().items() for text in found if module.startswith("cli/")]
    assert {o for text in own for o in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)} - foreign - {
        "--help",
        "--version",
    } <= options
    named = {name for text in own for name in re.findall(r"(?:^|[ `])renoise ([a-z]+)\b(?! \()", text)}
    assert {"invert", "models"} <= named & set(commands.commands)
