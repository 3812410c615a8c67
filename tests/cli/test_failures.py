"""What the commands refuse: one line that says what to do, the right exit code, and nothing written."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.main import get_command

from renoise import ConfigError, Editor, InversionConfig, ModelError, NumericalError, Renoising
from renoise.cli.app import app
from renoise.cli.failures import _OPTIONS, explain
from renoise.errors import Argument

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"


def png_of(width: int, height: int) -> bytes:
    """An image that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


BAD_PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "there is no file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cut short"),
    "text": (lambda path: path.write_text("a cat"), "not an image"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "not an image"),
    "huge": (lambda path: path.write_bytes(png_of(60_000, 60_000)), "too large"),
    "directory": (make_directory, "is a directory"),
    "pipe": (make_pipe, "is a pipe or a device"),
    "link to itself": (make_loop, "cannot be opened"),
    "corrupt TIFF": (lambda path: path.write_bytes(b"II*\0\x08\0\0\0\xff\xff"), "not an image"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("command", ["edit", "invert"])
@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures(on_tiny: Renoise, folder: Path, files: Files, command: str, case: str) -> None:
    spoil, words = BAD_PICTURES[case]
    spoil(folder / "cat.png")
    before = files()
    done = on_tiny(command, "cat.png", "-p", "a cat", *(["--to", "a dog"] if command == "edit" else []))
    assert done.code == 1
    assert words in done.error
    assert files() == before


BAD_INVERSIONS: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "missing": (lambda path, whole: None, "there is no file"),
    "empty": (lambda path, whole: path.write_bytes(b""), "not a readable inversion"),
    "garbage": (lambda path, whole: path.write_bytes(b"garbage" * 100), "not a readable inversion"),
    "truncated": (lambda path, whole: path.write_bytes(whole[:-100]), "cut short"),
    "foreign": (lambda path, whole: save_file({"x": torch.zeros(2)}, path), "not an inversion made by renoise"),
    "directory": (lambda path, whole: path.mkdir(), "is a directory"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("command", ["edit", "reconstruct", "info"])
@pytest.mark.parametrize("case", BAD_INVERSIONS)
def test_bad_inversions(renoise: Renoise, folder: Path, files: Files, inverted: Path, command: str, case: str) -> None:
    spoil, words = BAD_INVERSIONS[case]
    spoil(folder / "bad.safetensors", inverted.read_bytes())
    before = files()
    done = renoise(command, "bad.safetensors", *(["--to", "a dog"] if command == "edit" else []))
    assert done.code == 1
    assert words in done.error
    assert files() == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "dog"], "cannot tell the format"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "dog.docx"], "use one of the extensions"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "no/dog.png"], "folder no does not exist"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "no/where/"], "folder no does not exist"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "note.txt/"], "note.txt is a file"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", f"{'x' * 300}.png"], "too long"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "no/where"], "folder no does not exist"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--compare", "no/all.png"], "folder no does not exist"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--compare", "all"], "cannot tell the format"),
        (["invert", "cat.png", "-p", "a", "-o", "cat.png"], "use one of the extensions .safetensors"),
        (["invert", "cat.png", "-p", "a", "-o", "no/cat.safetensors"], "folder no does not exist"),
        (["invert", "cat.png", "-p", "a", "-o", "folder.safetensors"], "is a directory"),
        (["reconstruct", "tree.safetensors", "-o", "tree"], "cannot tell the format"),
        (["reconstruct", "tree.safetensors", "--source", "no.png"], "there is no file no.png"),
        (["info", "cat.png"], "not a readable inversion"),
    ],
)
def test_outputs_that_cannot_be_written(
    renoise: Renoise, folder: Path, files: Files, inverted: Path, arguments: list[str], words: str
) -> None:
    (folder / "tree.safetensors").write_bytes(inverted.read_bytes())
    (folder / "note.txt").write_text("mine")
    (folder / "folder.safetensors").mkdir()
    before = files()
    done = renoise(*arguments)
    assert done.code == 1
    assert words in done.error
    assert files() == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edit"], "SOURCE"),
        (["edit", "cat.png", "--prompt", "a"], "--to"),
        (["edit", "cat.png", "--to", "b"], "--prompt"),
        (["edit", "cat.png", "-p"], "requires an argument"),
        (["invert", "cat.png"], "--prompt"),
        (["invert", "tree.safetensors", "-p", "a"], "inversion already"),
        (["reconstruct", "cat.png"], "renoise invert"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "d.png"], "name a folder: -o d/"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "cat.png"], "would be overwritten"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "../{here}/cat.png"], "would be overwritten"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "link.png"], "would be overwritten"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--compare", "cat.png"], "would be overwritten"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "-o", "d.png", "--compare", "./d.png"], "written twice"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--source", "cat.png"], "--source is for inversions"),
        (["edit", "tree.safetensors", "--to", "b", "-p", "a"], "--prompt cannot be given"),
        (["edit", "tree.safetensors", "--to", "b", "--steps", "4", "--seed", "1"], "--steps, --seed cannot be given"),
        (["edit", "tree.safetensors", "--to", "b", "--preset", "reverse"], "--preset cannot be given"),
        (["edit", "tree.safetensors", "--to", "b", "--no-edit-losses"], "--no-edit-losses cannot be given"),
        (["edit", "tree.safetensors", "--to", "b", "--fit", "pad"], "--fit cannot be given"),
        (["edit", "tree.safetensors", "--to", "b", "--sampler", "ddim"], "--sampler cannot be given"),
        (
            ["edit", "cat.png", "-p", "a", "--to", "b", "--negative-source", "--negative-prompt", "c"],
            "give one of them",
        ),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--negative-source", "-g", "1"], "--guidance above 1"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--negative-prompt", "c", "-g", "1"], "--guidance above 1"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--negative-prompt", "", "-g", "0"], "--guidance above 1"),
        (["edit", "tree.safetensors", "--to", "b", "--negative-prompt", "c", "-g", "1"], "--negative-prompt has no"),
        (["edit", "cat.png", "-p", "a", "--to", "b\udcff"], "encoding"),
        (["edit", "cat.png", "other.png", "-p", "a", "--to", "b"], "extra argument"),
        (["edit", "cat.png", "-p", "a", "--to", "b", "--colour", "red"], "--colour"),
        (["invert", "cat.png", "-p", "a", "--guidance", "2"], "--guidance"),
        (["paint", "cat.png"], "paint"),
    ],
)
def test_wrong_usage(
    renoise: Renoise, folder: Path, files: Files, inverted: Path, arguments: list[str], words: str
) -> None:
    (folder / "tree.safetensors").write_bytes(inverted.read_bytes())
    (folder / "link.png").symlink_to("cat.png")
    before = files()
    done = renoise(*(a.replace("{here}", folder.name) for a in arguments))
    assert done.code == 2
    assert words in done.error
    assert files() == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "option",
    [
        "--steps 0",
        "--steps -1",
        "--steps 2.5",
        "--steps many",
        "--renoise -1",
        "--renoise 1000000000",
        "--depth 0",
        "--depth 1.1",
        "--depth nan",
        "--depth -inf",
        "--guidance nan",
        "--guidance inf",
        "--guidance -1",
        "--inversion-guidance nan",
        "--inversion-guidance inf",
        "--seed -1",
        "--seed 9223372036854775808",
        "--dtype int8",
        "--preset best",
        "--fit zoom",
        "--fit latents",
        "--noise-correction 1.5",
        "--noise-correction -0.1",
        "--noise-correction nan",
    ],
)
def test_settings_out_of_range(renoise: Renoise, files: Files, option: str) -> None:
    done = renoise("edit", "cat.png", "-p", "a", "--to", "b", *option.split())
    assert done.code == 2
    assert option.split()[0] in done.error
    assert files() == {"cat.png"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "no-such-model"], "model hub name has the form owner/name"),
        (["--model", ""], "is not known"),
        (["--model", "."], "no model_index.json"),
        (["--model", "cat.png"], "not a .safetensors checkpoint"),
        (["--model", str(TINY), "--device", "abacus"], "use cpu, cuda or mps"),
        (["--model", str(TINY), "--device", "cpu", "--steps", "1001"], "--steps 1001 is more than the 1000"),
        (["--model", str(TINY), "--device", "cpu", "--steps", "2", "--depth", "0.1"], "use at least --depth 0.5"),
    ],
)
def test_what_only_the_model_can_refuse(renoise: Renoise, files: Files, options: list[str], words: str) -> None:
    done = renoise("edit", "cat.png", "-p", "a", "--to", "b", "-o", "out/", *options)
    assert done.code == 1
    assert words in done.error
    assert files() == {"cat.png"}


def test_a_batch_is_for_python(renoise: Renoise, on_tiny: Renoise, editor: Editor, picture: Image.Image) -> None:
    batch = editor.invert([picture, picture], "a", config=InversionConfig(num_steps=1, renoising=Renoising(0)))
    batch.save("batch.safetensors")
    assert "holds 2 images" in on_tiny("edit", "batch.safetensors", "--to", "b").error
    assert "holds 2 images" in on_tiny("reconstruct", "batch.safetensors").error
    assert "; 2 of them" in renoise("info", "batch.safetensors").out


def test_arguments_are_told_as_options_of_an_edit_or_a_job() -> None:
    group: Any = get_command(app)
    own = [group.commands["edit"], *group.commands["job"].commands.values()]
    known = {
        option for one in own for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {option for parameter in group.commands["invert"].params for option in parameter.opts} & {"--edit-data"}
    assert {option for options in _OPTIONS.values() for option in options} <= known


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError(Argument("num_steps", 50), " is too many"), "--steps 50 is too many"),
        (ConfigError(Argument("true_cfg_scale", 3.0), remedy="use less"), "--true-cfg 3; use less"),
        (ModelError("it is another", remedy=("give ", Argument("force", True))), "it is another; give --force"),
        (ConfigError(Argument("eta", 0.5), " has no option"), "eta=0.5 has no option"),
        (ConfigError(Argument("num_steps", 1), " is one"), "--steps 1 is one"),
    ],
)
def test_errors_are_told_by_their_parts(error: Exception, line: str) -> None:
    assert explain(error) == (line, 1)


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (NumericalError("NaN in the latent; use more steps"), "NaN in the latent", 1),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory; use --dtype float16", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory", 1),
        (MemoryError(), "out of memory", 1),
        (OSError(28, "No space left on device", "dog.png"), "No space left on device: dog.png", 1),
        (KeyError("x"), "unexpected KeyError: 'x' (use --debug for the traceback)", 1),
        (RuntimeError("two\nlines"), "unexpected RuntimeError: two lines", 1),
    ],
)
def test_whatever_goes_wrong_while_editing_writes_nothing(
    on_tiny: Renoise, files: Files, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str, code: int
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Editor, "edit", fail)
    done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "out/", "--compare", "all.png")
    assert done.code == code
    assert words in done.error
    assert files() == {"cat.png"}


def test_a_failing_disk_leaves_no_half_file(on_tiny: Renoise, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "-o", "dog.png")
    assert done.code == 1
    assert "cannot write dog.png: No space left on device" in done.error
    assert files() == {"cat.png"}


def test_debug_shows_the_traceback(renoise: Renoise) -> None:
    done = renoise("edit", "no.png", "-p", "a", "--to", "b", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("renoise: error: there is no file no.png")


def test_a_negative_prompt_without_guidance_is_refused_once_the_model_is_known(renoise: Renoise, files: Files) -> None:
    """Few-step models edit without guidance by default."""
    few = ["--model", "mini-turbo", "--device", "cpu", "--steps", "1", "--renoise", "0", "-o", "out.png"]
    for option in (["--negative-prompt", "c"], ["--negative-source"]):
        done = renoise("edit", "cat.png", "-p", "a", "--to", "b", *few, *option)
        assert done.code == 2
        assert f"{option[0]} has no effect with a guidance of 1; give --guidance above 1" in done.error
    assert files() == {"cat.png"}
    done = renoise("edit", "cat.png", "-p", "a", "--to", "b", *few, "--negative-prompt", "c", "-g", "1.5", "--json")
    assert done.json["negative_prompt"] == "c"


def test_a_negative_prompt_counts_in_a_guided_inversion(on_tiny: Renoise) -> None:
    guided = ("--inversion-guidance", "2", "-g", "1", "--renoise", "0", "-o", "out.png")
    assert on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--negative-prompt", "c", *guided).code == 0


@pytest.mark.parametrize(
    ("command", "argument", "told"),
    [
        ("edit", Argument("guidance_scale", 2.0), "--guidance 2"),
        ("invert", Argument("guidance_scale", 2.0), "--inversion-guidance 2"),
        ("invert", Argument("true_cfg_scale"), "true_cfg_scale"),
        ("edit", Argument("true_cfg_scale"), "--true-cfg"),
        ("reconstruct", Argument("num_steps", 4), "num_steps=4"),
        ("info", Argument("force", True), "force=True"),
        ("reconstruct", Argument("force", True), "--force"),
        ("edit", Argument("model", "my models/a"), "--model 'my models/a'"),
    ],
)
def test_only_options_of_the_command_are_advised(
    renoise: Renoise, monkeypatch: pytest.MonkeyPatch, command: str, argument: Argument, told: str
) -> None:
    def fail(*args: object) -> None:
        raise ConfigError("no", remedy=("use ", argument))

    monkeypatch.setattr("renoise.images.load", fail)
    monkeypatch.setattr("renoise.inversion.Inversion.load", fail)
    source = ["cat.png", "-p", "a"] if command in ("edit", "invert") else ["cat.safetensors"]
    done = renoise(command, *source, *(["--to", "b"] if command == "edit" else []))
    assert done.error == f"no; use {told}"
