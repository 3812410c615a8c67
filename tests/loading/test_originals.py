"""Single files hold exactly the weights of the networks that are loaded from them, or what does not fit is named."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from renoise import Editor, ModelError, RenoiseWarning
from renoise.loading.layouts import FLUX_DEV
from renoise.loading.originals import require_fitting
from written import assert_same_weights, built, file_of, folder_of, original_sd3

Weights = dict[str, Tensor]
# The prefixes of the networks' names in each layout.
HEADS = {
    "sd15": ["model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."],
    "sd21-v": ["model.diffusion_model.", "first_stage_model.", "cond_stage_model.model."],
    "sdxl": [
        "model.diffusion_model.",
        "first_stage_model.",
        "conditioner.embedders.0.transformer.",
        "conditioner.embedders.1.model.",
    ],
    "sd3": [
        "model.diffusion_model.",
        "text_encoders.clip_l.transformer.",
        "text_encoders.clip_g.transformer.",
        "text_encoders.t5xxl.transformer.",
    ],
}


def whole(name: str, tiny: Path) -> Weights:
    """The weights of a tiny pipeline by their original names."""
    if name != "sd3":
        return load_file(file_of(name, tiny))
    pipe = built(name)
    encoders = {"clip_l": pipe.text_encoder, "clip_g": pipe.text_encoder_2, "t5xxl": pipe.text_encoder_3}
    weights = original_sd3(pipe.transformer)
    for prefix, encoder in encoders.items():
        for key, value in encoder.state_dict().items():
            if key != "encoder.embed_tokens.weight":  # tied to the shared one
                weights[f"text_encoders.{prefix}.transformer.{key}"] = value.clone()
    weights["text_encoders.clip_l.transformer.text_projection.weight"] = torch.eye(16)
    return weights


def load(name: str, tiny: Path, path: Path, weights: Mapping[str, Tensor]) -> Any:
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    return Editor.from_pretrained(path, device="cpu", config=folder_of(name, tiny)).pipe


def of(head: str, weights: Weights) -> list[str]:
    # A part is known by its first name, without which it would come from the folder.
    return [key for key in weights if key.startswith(head) and not key.endswith(("input_blocks.0.0.weight",))]


def half(weights: Weights, head: str) -> Weights:
    gone = set(of(head, weights)[::2]) - {key for key in weights if "position_embedding" in key or "shared" in key}
    gone -= {key for key in weights if key.endswith(("positional_embedding", "pos_embed"))}
    return {key: value for key, value in weights.items() if key not in gone}


def one_gone(weights: Weights, head: str) -> Weights:
    last = [key for key in of(head, weights) if key.endswith(".bias") or "layer_norm" in key][-1]
    return {key: value for key, value in weights.items() if key != last}


def one_more(weights: Weights, head: str) -> Weights:
    return {**weights, f"{head}surplus.weight": torch.zeros(2)}


def another_shape(weights: Weights, head: str) -> Weights:
    name = [key for key in of(head, weights) if key.endswith(".bias") or "layer_norm" in key][-1]
    return {**weights, name: torch.zeros(len(weights[name]) + 6)}


CHANGES: Mapping[str, tuple[Callable[[Weights, str], Weights], str]] = {
    "half": (half, "they lack "),
    "one gone": (one_gone, "they lack "),
    "one more": (one_more, r"hold what the network does not have, \S*surplus\.weight"),
    "another shape": (another_shape, "have another shape in |do not fit its configuration"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", HEADS)
def test_weights_that_do_not_fit_are_named(tiny: Path, tmp_path: Path, name: str, change: str) -> None:
    make, words = CHANGES[change]
    weights = whole(name, tiny)
    for head in HEADS[name]:
        with pytest.raises(ModelError, match=words) as caught:
            load(name, tiny, tmp_path / "x.safetensors", make(dict(weights), head))
        assert "\n" not in str(caught.value)
        assert "unexpected" not in str(caught.value)


@pytest.mark.parametrize("name", HEADS)
def test_whole_files_load_to_the_same_weights(tiny: Path, tmp_path: Path, name: str) -> None:
    weights = whole(name, tiny)
    pipe = load(name, tiny, tmp_path / "x.safetensors", weights)
    if name == "sd3":
        # diffusers takes the projection of CLIP-L for the identity, whatever the file holds.
        assert torch.equal(pipe.text_encoder.text_projection.weight, torch.eye(16))
        pipe.text_encoder.text_projection = built(name).text_encoder.text_projection
    assert_same_weights(pipe, built(name))


HARMLESS: Mapping[str, tuple[str, ...]] = {
    "sd15": (
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.logit_scale",
        "first_stage_model.loss.logvar",
        "first_stage_model.model_ema.decay",
        "model_ema.decay",
        "model_ema.diffusion_modelinput_blocks00weight",
        "alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "betas",
    ),
    "sd21-v": (
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.text_projection",
        "cond_stage_model.model.transformer.resblocks.1.ln_1.weight",
        "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_bias",
        "log_one_minus_alphas_cumprod",
    ),
    "sdxl": (
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.logit_scale",
        "denoiser.sigmas",
    ),
    "sd3": ("text_encoders.clip_l.transformer.text_model.embeddings.position_ids",),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_real_files_hold_besides_is_passed_over(tiny: Path, tmp_path: Path, name: str) -> None:
    weights = whole(name, tiny)
    for extra in HARMLESS[name]:
        weights[extra] = torch.zeros(24, 24) if extra.endswith("text_projection") else torch.zeros(24 * 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenoiseWarning)
        load(name, tiny, tmp_path / "x.safetensors", weights)
    assert not [w for w in caught if "of no part" in str(w.message)]


def test_tensors_of_no_part_are_remarked_on(tiny: Path, tmp_path: Path) -> None:
    weights = {**whole("sd15", tiny), "embedding.of.mine": torch.zeros(2)}
    with pytest.warns(RenoiseWarning, match=r"holds 1 tensors of no part .*, not read: embedding\.of\.mine"):
        load("sd15", tiny, tmp_path / "x.safetensors", weights)


def test_another_models_file_is_refused(tiny: Path, tmp_path: Path) -> None:
    """The second encoder of SDXL in the place of the first: the same names, other shapes."""
    weights = whole("sdxl", tiny)
    head = "conditioner.embedders.0.transformer."
    kept = {key: value for key, value in weights.items() if not key.startswith(head)}
    encoder = {
        f"{head}text_model.{k.removeprefix('text_model.')}": v
        for k, v in built("sdxl").text_encoder_2.state_dict().items()
    }
    with pytest.raises(ModelError, match=r"text_encoder in .* have another shape"):
        load("sdxl", tiny, tmp_path / "x.safetensors", {**kept, **encoder})
    other = {
        re.sub(r"^model\.", "model.", key): value
        for key, value in whole("sd15", tiny).items()
        if key.startswith("model.")
    }
    mixed = {key: value for key, value in weights.items() if not key.startswith("model.")} | other
    with pytest.raises(ModelError, match=r"the weights of the unet|is a checkpoint of"):
        load("sdxl", tiny, tmp_path / "y.safetensors", mixed)


def flux_names() -> dict[str, str]:
    """Flux's names in diffusers, by beginnings and ends, with those of Black Forest Labs."""
    double = {
        "norm1.linear.": "img_mod.lin.",
        "norm1_context.linear.": "txt_mod.lin.",
        "ff.net.0.proj.": "img_mlp.0.",
        "ff.net.2.": "img_mlp.2.",
        "ff_context.net.0.proj.": "txt_mlp.0.",
        "ff_context.net.2.": "txt_mlp.2.",
        "attn.to_out.0.": "img_attn.proj.",
        "attn.to_add_out.": "txt_attn.proj.",
        "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
        "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
        "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
        "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    }
    single = {
        "norm.linear.": "modulation.lin.",
        "proj_out.": "linear2.",
        "attn.norm_q.weight": "norm.query_norm.scale",
        "attn.norm_k.weight": "norm.key_norm.scale",
    }
    outer = {
        "time_text_embed.timestep_embedder.linear_1.": "time_in.in_layer.",
        "time_text_embed.timestep_embedder.linear_2.": "time_in.out_layer.",
        "time_text_embed.text_embedder.linear_1.": "vector_in.in_layer.",
        "time_text_embed.text_embedder.linear_2.": "vector_in.out_layer.",
        "time_text_embed.guidance_embedder.linear_1.": "guidance_in.in_layer.",
        "time_text_embed.guidance_embedder.linear_2.": "guidance_in.out_layer.",
        "context_embedder.": "txt_in.",
        "x_embedder.": "img_in.",
        "norm_out.linear.": "final_layer.adaLN_modulation.1.",
        "proj_out.": "final_layer.linear.",
    }
    names = {f"transformer_blocks.0.{key}": f"double_blocks.0.{value}" for key, value in double.items()}
    names |= {f"single_transformer_blocks.0.{key}": f"single_blocks.0.{value}" for key, value in single.items()}
    return {**names, **outer}


@pytest.mark.parametrize("change", CHANGES)
def test_a_text_encoder_that_does_not_fit_is_named(tiny: Path, tmp_path: Path, change: str) -> None:
    make, words = CHANGES[change]
    head = "cond_stage_model.model."
    with pytest.raises(ModelError, match=words):
        load("sd21-v", tiny, tmp_path / "x.safetensors", make(whole("sd21-v", tiny), head))


def test_flux_is_followed_at_its_real_width(tmp_path: Path) -> None:
    """diffusers converts Flux at its real width alone, so that no tiny file is there to be loaded."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(dict(transformer.config)))
    own = {key: tuple(value.shape) for key, value in transformer.state_dict().items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for end, cut in (("weight", slice(1, None)), ("bias", slice(1, 1))):
        for parts, target in (
            (("to_q", "to_k", "to_v"), "img"),
            (("add_q_proj", "add_k_proj", "add_v_proj"), "txt"),
        ):
            fused = [own.pop(f"transformer_blocks.0.attn.{one}.{end}") for one in parts]
            shapes[f"double_blocks.0.{target}_attn.qkv.{end}"] = (sum(s[0] for s in fused), *fused[0][cut])
        rest = [own.pop(f"single_transformer_blocks.0.attn.{one}.{end}") for one in ("to_q", "to_k", "to_v")]
        rest.append(own.pop(f"single_transformer_blocks.0.proj_mlp.{end}"))
        shapes[f"single_blocks.0.linear1.{end}"] = (sum(s[0] for s in rest), *rest[0][cut])
    names = flux_names()
    for key, shape in own.items():
        start = next(start for start in names if key.startswith(start))
        shapes[key.replace(start, names[start])] = shape
    classes = {"transformer": FluxTransformer2DModel}
    for prefix in ("", "model.diffusion_model."):
        file = {f"{prefix}{key}": shape for key, shape in shapes.items()}
        require_fitting(tmp_path / "x", file, FLUX_DEV, classes, tmp_path)
        with pytest.raises(ModelError, match=r"does not have, \S*double_blocks\.0\.x"):
            require_fitting(tmp_path / "x", {**file, f"{prefix}double_blocks.0.x": (2,)}, FLUX_DEV, classes, tmp_path)
        for gone in ("img_in.bias", "double_blocks.0.txt_attn.qkv.weight", "final_layer.linear.bias"):
            less = {key: shape for key, shape in file.items() if key != f"{prefix}{gone}"}
            with pytest.raises(ModelError, match="lack "):
                require_fitting(tmp_path / "x", less, FLUX_DEV, classes, tmp_path)
        with pytest.raises(ModelError, match=r"have another shape in x_embedder.bias"):
            require_fitting(tmp_path / "x", {**file, f"{prefix}img_in.bias": (7,)}, FLUX_DEV, classes, tmp_path)
