"""What a pipeline's folder lacks is told by its file names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from renoise.loading.folders import absent_parts, missing_parts, pipeline_class


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
