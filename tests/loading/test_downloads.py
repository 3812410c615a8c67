"""Bundled models and those in the hub's cache are here, partly here, or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import renoise_mini
from renoise import Editor, ModelError
from renoise.loading.catalogue import MODELS
from renoise.loading.downloads import Cache, bundled

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


def damaged(repository: Path, kind: str) -> None:
    """Damage a repository in the cache."""
    reference, (snapshot,) = repository / "refs" / "main", (repository / "snapshots").iterdir()
    index = snapshot / "model_index.json"
    contents = {
        "deep": "[" * 100_000,
        "list": "[]",
        "number": "7",
        "types": '{"_class_name": 7}',
        "lists": '{"_class_name": [[["x"]]], "unet": {"a": 1}, "vae": [[], []]}',
        "cut": '{"_class_name": "Sta',
    }
    if kind in contents:
        index.unlink()
        index.write_text(contents[kind])
    elif kind == "pipe":
        index.unlink()
        os.mkfifo(index)
    elif kind == "dangling":
        index.unlink()
        index.symlink_to(snapshot / "nowhere")
    elif kind == "pipe as a reference":
        reference.unlink()
        os.mkfifo(reference)
    elif kind == "reference to nothing":
        reference.write_text("d" * 40)
    elif kind == "bytes as a reference":
        reference.write_bytes(b"\xff\xfe\x00")
    elif kind == "long":
        index.unlink()
        index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline", "x" * 5000: ["diffusers", "UNet"]}))
    elif kind == "no folders":
        shutil.rmtree(repository / "snapshots")
        (repository / "snapshots").write_text("a file")


DAMAGES = [
    "deep",
    "list",
    "number",
    "types",
    "cut",
    "pipe",
    "dangling",
    "pipe as a reference",
    "reference to nothing",
    "bytes as a reference",
    "long",
    "lists",
]


@pytest.mark.parametrize("kind", [*DAMAGES, "no folders"])
def test_one_damaged_model_does_not_hide_the_others(tmp_path: Path, model: Path, kind: str) -> None:
    hub = tmp_path / "hub"
    for name in ("me/broken", "me/tuned", TURBO.name):
        cached(hub, name, model)
    for name in ("me/broken", TURBO.name):
        damaged(hub / f"models--{name.replace('/', '--')}", kind)
    cache = Cache(hub)
    states = {other.name: other.presence.state for other in cache.others(BY_NAME)}
    assert states["me/tuned"] == "here"
    if kind in DAMAGES:
        assert states["me/broken"] == cache.presence(TURBO).state == "damaged"
        (why,) = cache.presence(TURBO).missing
        assert "\n" not in why
    else:
        assert cache.presence(TURBO).state == "partly"


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_model_in_the_cache_is_refused_in_one_line(tmp_path: Path, model: Path, kind: str) -> None:
    cached(tmp_path / "hub", "me/broken", model)
    damaged(tmp_path / "hub" / "models--me--broken", kind)
    with pytest.raises(ModelError, match=r"'me/broken' is damaged in the cache .*; delete the folder") as caught:
        Editor.from_pretrained("me/broken", device="cpu", cache_dir=tmp_path / "hub")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight_map", [[1, 2], 7, None, {"a": 7}, {"a": ["b"]}, {"a": {}}, {"a": "../x"}])
def test_an_index_of_weights_without_sense_holds_none(tmp_path: Path, model: Path, weight_map: Any) -> None:
    unet = model / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": weight_map}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    cached(tmp_path / "hub", TURBO.name, model)
    assert Cache(tmp_path / "hub").presence(TURBO).state == "partly"


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
