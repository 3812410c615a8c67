"""LoRA weights beside a model's name: found, loaded, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from renoise import ConfigError, Editor, ModelError
from renoise.errors import AdapterWarning, RenoiseWarning
from written import file_of, folder_of, in_cache, lora_for


def adapters(editor: Editor) -> set[str]:
    return {name for names in editor.pipe.get_list_adapters().values() for name in names}


@pytest.mark.parametrize("name", ["sd15", "sdxl", "lcm", "sd3", "flux-dev"])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_lora_is_loaded_from_a_folder_or_a_file(tiny: Path, name: str, as_file: bool) -> None:
    folder = lora_for(name, tiny)
    given = folder / "pytorch_lora_weights.safetensors" if as_file else folder
    editor = Editor.from_pretrained(folder_of(name, tiny), device="cpu", lora=given)
    assert adapters(editor) == {"pytorch_lora_weights" if as_file else f"lora-{name}"}


def test_several_loras_are_all_in_force(tiny: Path) -> None:
    folder = lora_for("sd15", tiny)
    editor = Editor.from_pretrained(folder_of("sd15", tiny), device="cpu", lora=[str(folder), folder])
    assert adapters(editor) == set(editor.pipe.get_active_adapters()) == {"lora-sd15", "lora-sd15-2"}


def test_a_bundled_adapter_is_a_lora_like_others() -> None:
    alone = Editor.from_pretrained("mini-lcm", device="cpu")
    given = Editor.from_pretrained("mini", device="cpu", lora="mini-lcm")
    assert adapters(alone) == adapters(given) == {"mini-lcm"}
    assert type(alone.pipe.scheduler).__name__ == type(given.pipe.scheduler).__name__ == "LCMScheduler"


def test_a_lora_brings_its_scheduler_unless_another_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lora_for("sd15", tiny), tmp_path / "lora")
    (folder / "scheduler").mkdir()
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({"_class_name": "TCDScheduler", "beta_start": 0.001}))
    model = folder_of("sd15", tiny)
    editor = Editor.from_pretrained(model, device="cpu", lora=folder)
    assert type(editor.pipe.scheduler).__name__ == "TCDScheduler"
    assert editor.pipe.scheduler.config.beta_start == 0.001
    editor = Editor.from_pretrained(model, device="cpu", lora=folder, sampler="lcm")
    assert type(editor.pipe.scheduler).__name__ == "LCMScheduler"
    assert editor.pipe.scheduler.config.beta_start == 0.00085
    config.write_text(json.dumps({"_class_name": "UniPCMultistepScheduler"}))
    with pytest.raises(ModelError, match="names UniPCMultistepScheduler, which cannot be inverted"):
        Editor.from_pretrained(model, device="cpu", lora=folder)


@pytest.mark.parametrize(
    ("model", "weights", "words"),
    [
        ("sdxl", "sd15", "does not fit this model, a StableDiffusionXLPipeline"),
        ("sd15", "sdxl", "does not fit this model, a StableDiffusionPipeline"),
        ("sd15", "sd21-v", "does not fit"),
        ("sd15", "flux-dev", "has no weights for this model"),
        ("flux-dev", "sd15", "has no weights for this model"),
    ],
)
def test_a_lora_for_another_model_is_one_line(
    tiny: Path, capfd: pytest.CaptureFixture[str], model: str, weights: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        Editor.from_pretrained(folder_of(model, tiny), device="cpu", lora=lora_for(weights, tiny))
    assert "\n" not in str(caught.value)
    assert "size mismatch" not in capfd.readouterr().err


def test_a_lora_that_fits_in_part_is_told(tiny: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        Editor.from_pretrained(folder_of("sd35", tiny), device="cpu", lora=lora_for("sd3", tiny))
    with pytest.warns(AdapterWarning, match=r"only \d+ of the \d+ layers of the LoRA"):
        Editor.from_pretrained(folder_of("sd3", tiny), device="cpu", lora=lora_for("sd35", tiny))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere", "LoRA 'nowhere' is not known"),
        ("", "LoRA '' is not known"),
        ("x" * 5000, "no usable path|not known"),
        ("{empty}", "has no pytorch_lora_weights.safetensors"),
        ("{pickle}", "only pickles"),
        ("{several}", "several files of weights .a.safetensors, b.safetensors."),
        ("{model}", "is no LoRA but a checkpoint of Stable Diffusion 1.x"),
        ("{text}", "not a .safetensors"),
    ],
)
def test_what_is_no_lora_is_refused_before_the_model_is_loaded(
    tiny: Path, tmp_path: Path, given: str, words: str
) -> None:
    places = {name: tmp_path / name for name in ("empty", "pickle", "several")}
    for place in places.values():
        place.mkdir()
    (places["pickle"] / "pytorch_lora_weights.bin").write_bytes(b"pickle")
    for name in "ab":
        shutil.copy(
            lora_for("sd15", tiny) / "pytorch_lora_weights.safetensors", places["several"] / f"{name}.safetensors"
        )
    (tmp_path / "notes.txt").write_text("no weights")
    lora_name = given.format(**places, model=file_of("sd15", tiny), text=tmp_path / "notes.txt")
    with pytest.raises(ModelError, match=words):
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", lora=lora_name)


@pytest.mark.parametrize("given", [7, [None], b"x", {"a": 1}])
def test_what_cannot_name_a_lora_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="lora must be"):
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", lora=given)


@pytest.mark.usefixtures("no_hub")
def test_a_lora_of_the_hub_comes_from_the_cache(tiny: Path, tmp_path: Path) -> None:
    in_cache(lora_for("sdxl", tiny), tmp_path, "latent-consistency/lcm-lora-sdxl")
    wanted: dict[str, Any] = {"lora": "latent-consistency/lcm-lora-sdxl", "cache_dir": tmp_path, "device": "cpu"}
    with pytest.warns(RenoiseWarning, match="assuming the preset lcm-4 .*, which the list of models knows"):
        editor = Editor.from_pretrained(folder_of("sdxl", tiny), **wanted)
    assert adapters(editor) == {"lcm-lora-sdxl"}
    assert type(editor.pipe.scheduler).__name__ == "LCMScheduler"
    with pytest.warns(RenoiseWarning, match="EulerDiscreteScheduler is taken, as asked for"):
        editor = Editor.from_pretrained(folder_of("sdxl", tiny), sampler="euler", **wanted)
    assert type(editor.pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    with pytest.raises(ModelError, match=r"cannot be reached for LoRA 'me/lora'.* not in the cache") as caught:
        Editor.from_pretrained(folder_of("sdxl", tiny), device="cpu", lora="me/lora", cache_dir=tmp_path)
    assert "mini" not in str(caught.value)


def test_of_a_lora_on_the_hub_its_weights_alone_are_fetched(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["README.md", "pytorch_lora_weights.safetensors", "other.safetensors", "logs/x.safetensors"]
    fetched: list[Any] = []

    def fetch(name: str, *, allow_patterns: list[str], **options: Any) -> str:
        fetched.append((name, allow_patterns, options["local_files_only"]))
        return str(lora_for("sd15", tiny))

    answer = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])
    monkeypatch.setattr("huggingface_hub.model_info", lambda *args, **options: answer)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    editor = Editor.from_pretrained(folder_of("sd15", tiny), device="cpu", lora="me/lora", revision="fp16")
    assert adapters(editor) == {"lora"}
    ((name, patterns, local),) = fetched
    assert (name, patterns[0], local) == ("me/lora", "pytorch_lora_weights.safetensors", False)
