"""What is on this machine is told by file names: whole pipelines, variants, and interrupted downloads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import renoise_mini
from renoise.loading.catalogue import MODELS
from renoise.loading.downloads import Cache, absent_parts, bundled, missing_parts, pipeline_class

BY_NAME = {entry.name: entry for entry in MODELS}


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


def cached(cache: Path, name: str, source: Path | None, *, repositories: str = "models") -> Path:
    """A repository in the hub's cache, as the hub's client writes one."""
    repository = cache / f"{repositories}--{name.replace('/', '--')}"
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
    cached(hub, "me/pictures", model, repositories="datasets")
    index = model / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "WanPipeline"))
    cached(hub, "me/video", model)
    others = Cache(hub).others(BY_NAME)
    assert [(o.name, o.family and o.family.name, o.pipeline) for o in others] == [
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
