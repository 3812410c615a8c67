"""What the commands do when all is well."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from renoise import Editor, Inversion, InversionConfig, NoiseCorrection, Renoising, images, presets
from renoise.backbones.pipeline import PipelineBackbone
from renoise.config import OWN_VARIANTS
from renoise.defaults import EDIT_GUIDANCE

Renoise = Callable[..., Any]
Files = Callable[[], set[str]]
DATA = Path(__file__).parents[1] / "data"
TINY, TINY_XL = DATA / "tiny-sd", DATA / "tiny-sdxl"


def test_edit_writes_the_picture_and_says_what_it_took(on_tiny: Renoise, files: Files) -> None:
    done = on_tiny("edit", "cat.png", "--prompt", "a cat", "--to", "a dog", "-o", "dog.png")
    assert done.code == 0
    assert done.err == ""
    wrote, summary = done.out.splitlines()
    assert wrote == "wrote dog.png"
    assert "dB against the image" in summary
    assert "dB against the autoencoder's round trip" in summary
    # 2 steps: 2 passes each to invert and 1 for the edit losses, 1 to reconstruct, 2 to edit with guidance
    assert "12 network passes (6 inverting, 2 reconstructing, 4 editing)" in summary
    assert files() == {"cat.png", "dog.png"}
    assert Image.open("dog.png").size == (128, 128)


def test_edit_is_what_the_library_does(renoise: Renoise) -> None:
    model = ("--model", TINY, "--device", "cpu", "--steps", "2")  # and the default preset
    assert renoise("edit", "cat.png", "-p", "a cat", "--to", "a dog", "-g", "1.5", "-o", "dog.png", *model).code == 0
    editor = Editor.from_pretrained(TINY, device="cpu")
    inversion = editor.invert("cat.png", "a cat", config=editor.config(num_steps=2))
    expected = editor.edit(inversion, "a dog", guidance_scale=1.5)
    assert Image.open("dog.png").tobytes() == expected.tobytes()


def test_several_edits_go_to_a_folder(on_tiny: Renoise, files: Files) -> None:
    targets = ["A dog!", "a dog", "", "ein Hündchen"]
    done = on_tiny("edit", "cat.png", "-p", "", *(x for t in targets for x in ("--to", t)), "-o", "out/", "--json")
    assert done.code == 0
    names = ["out/01-a-dog.png", "out/02-a-dog.png", "out/03-empty.png", "out/04-ein-hündchen.png"]
    assert files() == {"cat.png", "out", *names}
    same = {"size": [128, 128], "strength": None, "mask": None}
    expected = [{"path": name, "prompt": to, **same} for name, to in zip(names, targets, strict=True)]
    assert done.json["outputs"] == expected
    assert done.json["network_passes"] == {"inversion": 6, "reconstruction": 2, "editing": 16}


@pytest.mark.parametrize("output", ["out", "out/"])
def test_one_edit_goes_to_a_folder_too(on_tiny: Renoise, files: Files, output: str) -> None:
    if not output.endswith("/"):
        Path(output).mkdir()
    assert on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "-o", output, "--quiet").code == 0
    assert files() == {"cat.png", "out", "out/01-b.png"}


def test_without_output_names_come_from_the_source(on_tiny: Renoise, files: Files) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a cat").code == 0
    assert on_tiny("edit", "cat.safetensors", "--to", "a dog").code == 0
    assert on_tiny("edit", "cat.safetensors", "--to", "a", "--to", "b").code == 0
    assert on_tiny("reconstruct", "cat.safetensors").out.startswith("wrote cat.reconstructed.png\n")
    expected = {"cat.png", "cat.safetensors", "cat.edited.png", "cat.reconstructed.png"}
    assert files() == expected | {"cat.edited", "cat.edited/01-a.png", "cat.edited/02-b.png"}


def test_invert_then_edit_is_edit(on_tiny: Renoise) -> None:
    common = ("--to", "a dog", "--guidance", "2.5", "--negative-prompt", "blur")
    assert on_tiny("edit", "cat.png", "-p", "a cat", *common, "-o", "once.png").code == 0
    assert on_tiny("invert", "cat.png", "-p", "a cat", "-o", "cat.safetensors").code == 0
    assert on_tiny("edit", "cat.safetensors", *common, "-o", "twice.png").code == 0
    assert Path("once.png").read_bytes() == Path("twice.png").read_bytes()


def test_same_seed_same_bytes(on_tiny: Renoise) -> None:
    for name in ("a", "b"):
        assert on_tiny("invert", "cat.png", "-p", "a cat", "--seed", "7", "-o", f"{name}.safetensors").code == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_settings_reach_the_inversion(on_tiny: Renoise) -> None:
    options = ["--steps", "5", "--renoise", "2", "--depth", "0.6", "--inversion-guidance", "1.5", "--seed", "3"]
    done = on_tiny("invert", "cat.png", "-p", "a cat", "--negative-prompt", "blur", *options, "--json")
    assert done.json["network_passes"]["inversion"] == 3 * 3 * 2
    assert "edit losses are left out" in done.err
    inversion = Inversion.load("cat.safetensors")
    assert inversion.config.renoising == Renoising(2)
    assert (inversion.config.num_steps, inversion.config.strength, inversion.config.seed) == (5, 0.6, 3)
    assert (inversion.config.guidance_scale, inversion.negative_prompt) == (1.5, "blur")


def test_json_is_one_document_with_the_measurements(on_tiny: Renoise) -> None:
    done = on_tiny("edit", "cat.png", "-p", "a cat", "--to", "a dog", "--json", "--compare", "all.png")
    document = done.json
    assert done.err == ""
    assert document["command"] == "edit"
    assert (document["prompt"], document["steps"], document["guidance"]) == ("a cat", 2, EDIT_GUIDANCE)
    assert document["compare"] == "all.png"
    assert set(document["psnr"]) == {"picture", "round_trip", "bound"}
    assert set(document["seconds"]) == {"loading", "work"}
    assert document["residual"]["max"] >= document["residual"]["mean"] > 0


def test_psnr_is_of_the_reconstruction(on_tiny: Renoise, inverted: Path) -> None:
    picture = inverted.with_name("tree.png")
    document = on_tiny("reconstruct", inverted, "--source", picture, "--json", "-o", "again.png").json
    editor = Editor.from_pretrained(TINY, device="cpu")

    def db(a: torch.Tensor, b: torch.Tensor) -> float:
        return -10 * math.log10(float((a - b).square().mean()))

    def pixels(image: Image.Image) -> torch.Tensor:
        return torch.tensor(list(image.tobytes())).float() / 255

    again = editor.reconstruct(Inversion.load(inverted))
    round_trip = editor.decode(editor.encode(picture))[0]
    assert document["psnr"]["picture"] == pytest.approx(db(pixels(again), pixels(editor.fit(picture))), abs=0.1)
    # Both of these are rounded to 8 bits here, and not there.
    assert document["psnr"]["round_trip"] == pytest.approx(db(pixels(again), pixels(round_trip)), abs=1.0)
    assert Image.open("again.png").tobytes() == again.tobytes()


def test_reconstruct_without_the_source_measures_nothing(on_tiny: Renoise, inverted: Path) -> None:
    done = on_tiny("reconstruct", inverted, "-o", "again.png", "--json")
    assert done.json["psnr"] is None
    assert done.json["network_passes"] == {"inversion": 0, "reconstruction": 2, "editing": 0}


def test_a_reconstruction_that_was_kept_takes_no_network_passes(on_tiny: Renoise) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a cat", "--preset", "edit").code == 0
    assert "\n0 network passes; " in on_tiny("reconstruct", "cat.safetensors", "-o", "again.png").out


def test_compare_shows_what_there_is(on_tiny: Renoise, inverted: Path) -> None:
    picture = inverted.with_name("tree.png")
    on_tiny("edit", inverted, "--to", "a", "-o", "a.png", "--compare", "two.png")
    on_tiny("edit", inverted, "--to", "a", "-o", "a.png", "--compare", "three.png", "--source", picture)
    assert Image.open("two.png").width < Image.open("three.png").width


def test_another_model_needs_force(renoise: Renoise, on_tiny: Renoise, folder: Path) -> None:
    assert on_tiny("invert", "cat.png", "-p", "a cat", "--quiet").code == 0
    other = ("edit", "cat.safetensors", "--to", "a dog", "--model", TINY_XL, "-o", "dog.png")
    assert "load that model, or give --force" in renoise(*other).error
    assert not (folder / "dog.png").exists()
    assert renoise(*other, "--force").code == 0


def test_quiet_says_nothing(on_tiny: Renoise) -> None:
    done = on_tiny("edit", "cat.png", "-p", "a cat", "--to", "a dog", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_prompt_that_is_cut_off_is_said_once(on_tiny: Renoise) -> None:
    prompt = " ".join(["cat"] * 200)
    done = on_tiny("edit", "cat.png", "-p", prompt, "--to", "a dog")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("renoise: the prompt is longer than the 77 tokens that the model's text encoder (CLIPText")
    assert re.search(r"reads; left out: '(cat )+…(cat )+cat'$", line)


def test_the_bundled_model_is_named_when_none_was(renoise: Renoise, monkeypatch: pytest.MonkeyPatch) -> None:
    # `renoise.loading.pipelines` is shadowed by nothing, but an attribute path would import torch for every test.
    loading = importlib.import_module("renoise.loading.pipelines")
    locate = loading._locate
    monkeypatch.setattr(loading, "_locate", lambda name: TINY if name == "mini" else locate(name))
    done = renoise("edit", "cat.png", "-p", "a", "--to", "b", "--preset", "paper", "--steps", "2", "--json")
    assert done.err == "renoise: using the bundled model mini (name another with --model)\n"
    assert done.json["model"] == "mini"


@pytest.mark.parametrize(
    ("sampler", "inverted_with", "given", "expected"),
    [
        ("ddim", None, None, EDIT_GUIDANCE),
        ("ddim", None, "0", 0.0),
        ("ddim", None, "7.5", 7.5),
        ("ddim", "3", None, 3.0),
        ("lcm", None, None, 1.0),
        ("lcm", None, "1.5", 1.5),
    ],
)
def test_guidance_of_an_edit(
    on_tiny: Renoise, sampler: str, inverted_with: str | None, given: str | None, expected: float
) -> None:
    options = ["--sampler", sampler, "--renoise", "0"]
    options += [] if inverted_with is None else ["--inversion-guidance", inverted_with]
    options += [] if given is None else ["--guidance", given]
    assert on_tiny("edit", "cat.png", "-p", "a", "--to", "b", "--json", *options).json["guidance"] == expected


def test_presets_and_parts_of_the_method(on_tiny: Renoise) -> None:
    def inverted(*options: str) -> InversionConfig:
        assert on_tiny("invert", "cat.png", "-p", "a cat", "--quiet", *options).code == 0
        return Inversion.load("cat.safetensors").config

    paper = replace(presets["sd"], num_steps=2)
    assert inverted("--preset", "paper") == paper
    for preset in OWN_VARIANTS:
        assert inverted("--preset", preset) == replace(presets[f"{preset}-many-step"], num_steps=2)
    assert inverted("--preset", "reverse") == paper.reversing()
    assert inverted("--preset", "released") == replace(presets["released-many-step"], num_steps=2)
    assert inverted("--renoise", "0") == paper.reversing()
    for reversing in (("--renoise", "0"), ("--preset", "reverse")):
        assert inverted(*reversing, "--edit-losses").edit_losses == presets["sd"].edit_losses
    assert inverted("--no-edit-losses") == replace(paper, edit_losses=None)
    assert inverted("--noise-correction", "0.5").noise_correction == NoiseCorrection(0.5)
    assert inverted("--noise-correction", "0").noise_correction is None


def test_a_preset_need_not_be_named(renoise: Renoise) -> None:
    model = ("--model", TINY, "--device", "cpu")
    done = renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", "--json", *model)
    assert done.code == 0
    inversion = Inversion.load("cat.safetensors")
    assert inversion.config == replace(presets["edit-many-step"], num_steps=2)
    assert inversion.for_edits
    assert done.json["network_passes"]["inversion"] == inversion.network_passes == 2


def test_an_image_that_could_not_be_inverted_well_is_told(renoise: Renoise) -> None:
    model = ("--model", TINY, "--device", "cpu", "--preset", "balanced")
    done = renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", "--json", *model)
    inversion = Inversion.load("cat.safetensors")
    assert inversion.config == replace(presets["balanced-many-step"], num_steps=2)
    # It is said in one line, and in the document.
    assert not inversion.converged.all()
    (line,) = done.err.splitlines()
    assert line.startswith("renoise: the image could not be inverted well: a residual is ")
    assert line.endswith("use more steps, a prompt that fits better, or less --inversion-guidance")
    assert done.json["converged"] is False
    assert done.json["network_passes"]["inversion"] == inversion.network_passes


@pytest.mark.parametrize("options", [("--renoise", "0"), ("--preset", "reverse")])
def test_reversing_is_the_same_whatever_it_began_with(renoise: Renoise, options: tuple[str, ...]) -> None:
    model = ("--model", TINY, "--device", "cpu")
    done = renoise("invert", "cat.png", "-p", "a cat", "--steps", "2", "--quiet", *model, *options)
    assert done.code == 0
    assert Inversion.load("cat.safetensors").config == replace(presets["sd"], num_steps=2).reversing()


def test_the_source_as_negative_prompt(on_tiny: Renoise, inverted: Path) -> None:
    options = ("--to", "a dog", "--guidance", "3")
    assert on_tiny("edit", inverted, *options, "--negative-source", "-o", "a.png").code == 0
    assert on_tiny("edit", inverted, *options, "--negative-prompt", "a tree", "-o", "b.png").code == 0
    assert on_tiny("edit", inverted, *options, "-o", "c.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() != Path("c.png").read_bytes()


def test_the_document_tells_the_negative_prompt_of_the_edit(on_tiny: Renoise, inverted: Path) -> None:
    edit = ("edit", inverted, "--to", "a dog", "--guidance", "3", "--json", "-o", "a.png")
    assert on_tiny(*edit).json["negative_prompt"] is None
    assert on_tiny(*edit, "--negative-prompt", "blur").json["negative_prompt"] == "blur"
    assert on_tiny(*edit, "--negative-source").json["negative_prompt"] == "a tree"


def test_noise_correction_without_noise_is_said_to_have_no_effect(on_tiny: Renoise) -> None:
    done = on_tiny("invert", "cat.png", "-p", "a", "--noise-correction", "1")
    assert (done.code, done.err.count("no effect: DDIMScheduler")) == (0, 1)
    assert on_tiny("invert", "cat.png", "-p", "a", "--noise-correction", "0").err == ""


@pytest.mark.parametrize("command", ["edit", "invert", "edit an inversion", "reconstruct"])
def test_an_image_is_fitted_once_and_encoded_once(
    on_tiny: Renoise, inverted: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    source = ("--source", inverted.with_name("tree.png"))
    arguments = {
        "edit": ("edit", "cat.png", "-p", "a", "--to", "b", "--to", "c", "-o", "out/"),
        "invert": ("invert", "cat.png", "-p", "a"),
        "edit an inversion": ("edit", inverted, "--to", "b", "-o", "b.png", *source),
        "reconstruct": ("reconstruct", inverted, "-o", "again.png", *source),
    }[command]
    fitted, encoded = [], []
    refit, encode = images.refit, PipelineBackbone.encode

    def fit(image: Image.Image, *how: Any) -> Image.Image:
        result = refit(image, *how)
        fitted.extend([result] if result.size != image.size else [])
        return result

    def encoding(self: PipelineBackbone, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(pixels)
        return encode(self, pixels)

    monkeypatch.setattr(images, "refit", fit)
    monkeypatch.setattr(PipelineBackbone, "encode", encoding)
    done = on_tiny(*arguments, "--compare", "all.png")
    assert (done.code, "dB against the image" in done.out) == (0, True)
    assert (len(fitted), len(encoded)) == (1, 1)
