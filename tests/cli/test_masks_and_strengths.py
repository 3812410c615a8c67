"""The command's knobs of an edit: masks, strengths, what is kept, and what an inversion keeps for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renoise import Editor, Inversion

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
EDIT = ("edit", "cat.png", "-p", "a cat", "--to", "a dog")


@pytest.fixture
def mask(folder: Path) -> Path:
    """A mask of the image in the current folder, white in its middle."""
    drawn = Image.new("L", (100, 80))
    drawn.paste(255, (30, 20, 70, 60))
    drawn.save("mask.png")
    return Path("mask.png")


def array(path: str) -> Any:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("fit", ["keep", "pad"])
def test_outside_of_the_mask_the_file_has_the_images_own_levels(on_tiny: Renoise, mask: Path, fit: str) -> None:
    done = on_tiny(*EDIT, "--mask", mask, "--fit", fit, "-o", "dog.png", "--save-mask", "white.png", "--json")
    assert (done.code, done.err) == (0, "")
    changed = np.abs(array("dog.png") - array("cat.png")).max(axis=-1)
    outside = np.asarray(Image.open(mask)) == 0
    assert changed[outside].max() == 0
    assert changed[~outside].max() > 0
    assert np.asarray(Image.open("white.png"))[outside].max() == 0
    document = done.json
    assert (document["mask"], document["keep"], document["edit_data"]) == ("mask.png", "auto", "float32")
    assert document["outputs"][0]["mask"] == "white.png"
    assert document["network_passes"]["reconstruction"] == 0


def test_every_target_is_drawn_at_each_strength_from_one_inversion(on_tiny: Renoise, files: Files) -> None:
    given = ("--strengths", "0,0.25,1", "--compare", "all.png", "--save-mask", "white.png", "-o", "out/")
    done = on_tiny(*EDIT, "--to", "A fox!", *given, "--json")
    assert done.code == 0
    names = [f"out/0{n}-{name}.png" for n, name in enumerate(["a-dog-0", "a-dog-0.25", "a-dog-1"], start=1)]
    names += [f"out/0{n}-{name}.png" for n, name in enumerate(["a-fox-0", "a-fox-0.25", "a-fox-1"], start=4)]
    masks = [f"white-0{n}.png" for n in range(1, 7)]
    assert files() == {"cat.png", "all.png", "out", *names, *masks}
    outputs = done.json["outputs"]
    assert [one["path"] for one in outputs] == names
    assert [one["strength"] for one in outputs] == [0.0, 0.25, 1.0] * 2
    assert [one["mask"] for one in outputs] == masks
    assert done.json["network_passes"] == {"inversion": 6, "reconstruction": 0, "editing": 16}
    assert array(names[0]).tolist() == array(names[3]).tolist() != array(names[1]).tolist()
    assert np.asarray(Image.open(masks[0])).max() == 0


def test_the_knobs_are_the_librarys(renoise: Renoise, data: Path) -> None:
    model = ("--model", data / "tiny-sd", "--device", "cpu", "--steps", "2")
    given = ("--strength", "0.75", "--keep", "nothing", "-g", "1.5")
    assert renoise(*EDIT, *given, *model, "-o", "dog.png").code == 0
    editor = Editor.from_pretrained(data / "tiny-sd", device="cpu")
    inversion = editor.invert("cat.png", "a cat", config=editor.config(num_steps=2))
    expected = editor.edit(inversion, "a dog", strength=0.75, keep="nothing", guidance_scale=1.5)
    assert Image.open("dog.png").tobytes() == expected.tobytes()


@pytest.mark.parametrize("edit_data", ["float32", "float16", "none"])
def test_what_an_inversion_keeps_is_told(on_tiny: Renoise, renoise: Renoise, mask: Path, edit_data: str) -> None:
    done = on_tiny("invert", "cat.png", "-p", "a cat", "--edit-data", edit_data)
    assert done.code == 0
    size, inversion = Path("cat.safetensors").stat().st_size, Inversion.load("cat.safetensors")
    assert f"the inversion has {size:,} bytes: " in done.out
    assert ("edits start from the image itself" in done.out) == (edit_data != "none")
    document = renoise("info", "cat.safetensors", "--json").json
    assert (document["edit_data"], document["sizes"]) == (edit_data, inversion.sizes)
    told = renoise("info", "cat.safetensors").out
    edited = on_tiny("edit", "cat.safetensors", "--to", "a dog", "--mask", mask, "-o", "dog.png")
    if edit_data == "none":
        assert "nothing: the noise alone" in told
        assert edited.code == 1
        assert edited.error.startswith("--mask needs the source's latents")
        assert "invert with renoise invert --edit-data float32" in edited.error
    else:
        assert f"trajectory {inversion.sizes['trajectory']:,} bytes" in told
        assert f"(latents in {edit_data})" in told
        assert edited.code == 0


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "option", ["--mask mask.png", "--strength 0.5", "--strengths 0,1", "--keep auto", "--save-mask w.png"]
)
def test_a_file_that_kept_nothing_is_refused_before_the_model(
    on_tiny: Renoise, files: Files, inverted: Path, mask: Path, option: str
) -> None:
    before = files()
    done = on_tiny("edit", inverted, "--to", "b", *option.split())
    assert done.code == 1
    named = {"--strengths": "--strength"}.get(option.split()[0], option.split()[0])
    assert done.error.startswith(f"{named} needs the source's latents")
    assert files() == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--strength 0.5 --strengths 0,1", 2, "--strength and --strengths are given"),
        ("--strengths 0,0", 2, "0 is given more than once"),
        ("--strengths 0,1.5", 2, "is not a number from 0 to 1"),
        ("--strengths half", 2, "is not a number from 0 to 1"),
        ("--strength 1.1", 2, "is not a number from 0 to 1"),
        ("--keep everything", 2, "'auto', 'nothing'"),
        ("--mask no.png", 1, "there is no file no.png"),
        ("--mask .", 1, "is a directory"),
        ("--mask note.txt", 1, "the mask cannot be used: note.txt is not an image that can be read"),
        ("--mask empty.png", 1, "empty.png is empty"),
        ("--mask labels.png", 1, "no level above 1 of 255"),
        ("--mask mask.png -o mask.png", 2, "is what is read and would be overwritten"),
        ("--save-mask cat.png", 2, "is what is read and would be overwritten"),
        ("--save-mask w.png -o w.png", 2, "would be written twice"),
        ("--save-mask no/w.png", 1, "folder no does not exist"),
        ("--save-mask w", 1, "cannot tell the format"),
        ("--strengths 0,1 -o dog.png", 2, "several edits do not fit into one file, dog.png"),
    ],
)
def test_what_is_refused_before_the_model(
    on_tiny: Renoise, files: Files, mask: Path, options: str, code: int, words: str
) -> None:
    Path("note.txt").write_text("white")
    Path("empty.png").touch()
    Image.new("L", (100, 80), 1).save("labels.png")
    before = files()
    done = on_tiny(*EDIT, *options.split())
    assert done.code == code
    assert words in done.error
    assert files() == before


def test_a_mask_of_another_shape_is_refused_before_the_network_works(
    on_tiny: Renoise, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (50, 200), 255).save("mask.png")

    def invert(*args: object, **options: object) -> None:
        pytest.fail("the image was inverted")

    monkeypatch.setattr(Editor, "invert", invert)
    done = on_tiny(*EDIT, "--mask", "mask.png")
    assert (done.code, "the mask is 50 x 200 and the image 100 x 80" in done.error) == (1, True)
    assert files() == {"cat.png", "mask.png"}


def test_a_black_mask_is_remarked_on_once(on_tiny: Renoise) -> None:
    Image.new("L", (100, 80)).save("black.png")
    done = on_tiny(*EDIT, "--to", "a fox", "--mask", "black.png", "--fit", "keep", "-o", "out/")
    assert (done.code, done.err.count("black everywhere")) == (0, 1)
    assert array("out/01-a-dog.png").tolist() == array("cat.png").tolist()


@pytest.mark.usefixtures("no_model")
def test_the_strength_of_the_schedule_has_another_name(on_tiny: Renoise, files: Files) -> None:
    done = on_tiny("invert", "cat.png", "-p", "a", "--strength", "0.5")
    assert (done.code, done.error) == (2, "--strength is --depth now: --depth 0.5; --strength is for renoise edit")
    assert "--strength" not in on_tiny("invert", "--help").out
    assert files() == {"cat.png"}
