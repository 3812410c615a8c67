"""Images of any size and shape through the command: what is seen, measured, shown and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import Editor, Inversion, InversionConfig, Renoising, images
from renoise.quality import psnr

Renoise = Callable[..., Any]
TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
# What is written for each fit: the image of these tests has 100 x 80 pixels, the model 128 x 128.
WRITTEN = {"crop": (128, 128), "stretch": (128, 128), "pad": (100, 80), "keep": (100, 80)}


def test_every_fit_is_tested() -> None:
    assert set(WRITTEN) == set(images.FITS)


@pytest.mark.parametrize("fit", WRITTEN)
def test_edits_have_the_size_that_goes_with_the_fit(on_tiny: Renoise, fit: str) -> None:
    done = on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "out/", "--fit", fit, "--json")
    document = done.json
    width, height = WRITTEN[fit]
    assert document["fit"] == fit
    assert [output["size"] for output in document["outputs"]] == [[height, width]] * 2
    for output in document["outputs"]:
        assert Image.open(output["path"]).size == (width, height)


def test_crop_is_the_default(on_tiny: Renoise) -> None:
    assert on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "-o", "one.png").code == 0
    assert on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "-o", "two.png", "--fit", "crop").code == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


@pytest.mark.parametrize("fit", WRITTEN)
def test_edit_is_what_the_library_does(on_tiny: Renoise, fit: str) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a", "--fit", fit).code == 0
    assert on_tiny("edit", "cat.safetensors", "--to", "b", "-g", "1.5", "-o", "b.png").code == 0
    editor = Editor.from_pretrained(TINY, device="cpu")
    expected = editor.edit(Inversion.load("cat.safetensors"), "b", guidance_scale=1.5)
    assert Image.open("b.png").size == WRITTEN[fit]
    assert Image.open("b.png").tobytes() == expected.tobytes()


@pytest.mark.parametrize("fit", WRITTEN)
def test_measured_is_what_the_model_saw(on_tiny: Renoise, fit: str) -> None:
    inverted = on_tiny("invert", "cat.png", "-p", "a", "--fit", fit, "--json").json
    again = on_tiny("reconstruct", "cat.safetensors", "--source", "cat.png", "-o", "again.png", "--json").json
    assert again["psnr"] == pytest.approx(inverted["psnr"])
    assert again["outputs"] == [{"path": "again.png", "prompt": "a", "size": list(WRITTEN[fit][::-1])}]

    editor, inversion = Editor.from_pretrained(TINY, device="cpu"), Inversion.load("cat.safetensors")
    seen = images.to_tensor([editor.fit("cat.png", fit=fit)])
    drawn = editor.reconstruct(inversion, "pt")
    round_trip = editor.decode(editor.encode("cat.png", fit=fit), "pt")
    expected = {"picture": (drawn, seen), "round_trip": (drawn, round_trip), "bound": (round_trip, seen)}
    for name, (a, b) in expected.items():
        assert again["psnr"][name] == pytest.approx(float(psnr(a, b)), abs=0.01), name


@pytest.mark.parametrize("fit", ["pad", "keep"])
def test_another_version_of_the_source_will_do(on_tiny: Renoise, fit: str) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a", "--fit", fit).code == 0
    Image.open("cat.png").resize((300, 240)).save("large.png")
    done = on_tiny(
        "edit", "cat.safetensors", "--to", "b", "-o", "b.png", "--source", "large.png", "--compare", "all.png"
    )
    assert done.code == 0
    assert "dB against the image" in done.out
    assert Image.open("b.png").size == (100, 80)


def test_latents_are_measured_as_ever(on_tiny: Renoise, editor: Editor) -> None:
    config = InversionConfig(num_steps=1, renoising=Renoising(0))
    editor.invert(latents=editor.encode("cat.png"), prompt="a", config=config).save("cat.safetensors")
    done = on_tiny("reconstruct", "cat.safetensors", "--source", "cat.png", "-o", "again.png", "--json").json
    assert done["fit"] == "latents"
    assert done["psnr"]["bound"] is not None
    assert Image.open("again.png").size == (128, 128)


@pytest.mark.parametrize(("fit", "wide"), [("crop", False), ("pad", True), ("keep", True)])
def test_comparisons_show_what_is_written(on_tiny: Renoise, fit: str, wide: bool) -> None:
    Image.new("RGB", (96, 24), (200, 40, 40)).save("wide.png")
    options = ("-p", "a", "--to", "b", "-o", "b.png", "--fit", fit, "--compare", "all.png")
    assert on_tiny("edit", "wide.png", *options).code == 0
    sheet = Image.open("all.png").convert("RGB")
    red = [(x, y) for x in range(sheet.width) for y in range(sheet.height) if sheet.getpixel((x, y)) == (200, 40, 40)]
    width, height = (1 + max(xy[i] for xy in red) - min(xy[i] for xy in red) for i in (0, 1))
    assert width / height == pytest.approx(4.0 if wide else 1.0)


def test_far_more_pixels_than_the_model_is_made_for_are_said(on_tiny: Renoise) -> None:
    Image.open("cat.png").resize((320, 240)).save("large.png")
    options = ("-p", "a", "-o", "large.safetensors", "--steps", "1")
    done = on_tiny("invert", "large.png", *options, "--fit", "keep")
    assert done.err.startswith("renoise: --fit keep: the model is made for 128 x 128; at 320 x 240 it is slow")
    assert on_tiny("invert", "large.png", *options, "--fit", "pad").err == ""
    assert on_tiny("invert", "cat.png", *options, "--fit", "keep").err == ""


class TestFrames:
    NOTE = "renoise: cat.gif holds 3 frames; the first is taken\n"

    @pytest.fixture(autouse=True)
    def animation(self, folder: Path) -> None:
        first, *rest = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
        first.save(folder / "cat.gif", save_all=True, append_images=rest)

    def test_the_user_is_told_once(self, on_tiny: Renoise) -> None:
        done = on_tiny("edit", "cat.gif", "-p", "a", "--to", "b", "-o", "b.png")
        assert (done.code, done.err) == (0, self.NOTE)

    def test_of_the_source_of_an_inversion_too(self, on_tiny: Renoise, inverted: Path) -> None:
        done = on_tiny("reconstruct", inverted, "--source", "cat.gif", "-o", "again.png", "--json")
        assert (done.json["command"], done.err) == ("reconstruct", self.NOTE)

    def test_quiet_is_quiet(self, on_tiny: Renoise) -> None:
        done = on_tiny("invert", "cat.gif", "-p", "a", "--quiet")
        assert (done.code, done.out, done.err) == (0, "", "")
