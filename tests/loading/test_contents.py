"""What a single file holds is told by the names and shapes of its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from renoise import Editor, InversionConfig, ModelError
from renoise.loading import contents


def without(weights: Mapping[str, Any], *beginnings: str) -> dict[str, Any]:
    return {key: value for key, value in weights.items() if not key.startswith(beginnings)}


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


def recognised(tmp_path: Path, shapes: Mapping[str, tuple[int, ...]], **metadata: str) -> contents.Contents:
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
    return contents.recognise(path)


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
    found = recognised(tmp_path, shapes)
    assert found.layout is not None
    assert (found.layout.title, found.lacks) == (title, lacks)


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
            "adapter .LoRA.; load its base model and give it as lora",
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "model.ckpt",
            b"pickle",
            r"not a .safetensors checkpoint but a pickle, which can run code .*weights_only=True",
        ),
        ("model.GGUF", b"GGUF", "quantised GGUF"),
        ("model.zip", b"PK", "not a .safetensors"),
        ("model.safetensors", b"garbage", "not a readable safetensors"),
    ],
)
def test_single_files_that_are_no_checkpoints(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Editor.from_pretrained(tmp_path / name, device="cpu")
