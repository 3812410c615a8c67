"""Models: every field of the JSON files of a pipeline's folder, weights, indices, single files, LoRA files, a cache."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hostile.values import as_json, damaged, documents, texts
from hostile.worker import Case
from renoise import Editor, InversionConfig, Renoising
from renoise.loading.downloads import Cache
from renoise.loading.pipelines import load_pipeline
from tiny_pipelines import BUILDERS, lora, single_file

TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
ONE_STEP = InversionConfig(num_steps=1, renoising=Renoising(0))
CPU = torch.device("cpu")
ROUNDS = 60
NETWORKS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")


def cases(folder: Path) -> list[Case]:
    """Return damaged and absurd folders of a pipeline, single files and LoRA files, each loaded and used."""
    whole = folder / "whole"
    if not whole.exists():
        shutil.copytree(TINY, whole)
    found: list[Case] = [("folder: the honest one", partial(_use, whole))]
    for path in sorted(path for path in whole.rglob("*.json") if path.name != "vocab.json"):
        name = path.relative_to(whole).as_posix()
        found += [(f"{name}: {what}", partial(_changed, whole, name, data, _use)) for what, data in _of_json(path)]
    for name in ("tokenizer/vocab.json", "tokenizer/merges.txt"):
        honest = (whole / name).read_bytes()
        contents = [*texts({}), *((f"damage {n}", damaged(honest, random.Random(n))) for n in range(ROUNDS // 2))]
        found += [(f"{name}: {what}", partial(_changed, whole, name, data, _use)) for what, data in contents]
    for network in NETWORKS:
        name = f"{network}.safetensors"
        weights = (whole / name).read_bytes()
        found += [(f"{name}: {what}", partial(_changed, whole, name, data, _use)) for what, data in _weights(weights)]
        index = {"metadata": {"total_size": 1}, "weight_map": {"a": f"{Path(name).name}"}}
        for what, changed in documents(index):
            act = partial(_indexed, whole, network, as_json(changed))
            found.append((f"{network} index: {what}", act))
    found += [(f"no {path.relative_to(whole)}", partial(_lacking, whole, path)) for path in sorted(whole.rglob("*"))]
    pipe: Any = BUILDERS["sd15-ddim"]()
    base = folder / "base"
    if not base.exists():
        pipe.save_pretrained(base)
    single = single_file(pipe, folder / "single.safetensors").read_bytes()
    for what, data in _weights(single):
        found.append((f"single file: {what}", partial(_file, folder / "one.safetensors", data, base)))
    (folder / "lora").mkdir(exist_ok=True)
    adapter = lora(pipe, folder / "lora").read_bytes()
    for what, data in _weights(adapter):
        found.append((f"LoRA: {what}", partial(_adapter, folder / "lora.safetensors", data, base)))
    found += [(f"cache: {what}", act) for what, act in _caches(folder / "hub", whole)]
    return found


def _of_json(path: Path) -> Iterator[tuple[str, bytes]]:
    document = json.loads(path.read_text())
    yield from texts(document)
    yield from ((what, as_json(changed)) for what, changed in documents(document))


def _weights(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files of weights, and whole ones with other tensors than they should have."""
    yield from texts({})
    for end in (0, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        yield f"the first {end}", data[:end]
    for length in (0, 2**31, 2**63, 2**64 - 1):
        yield f"a header of {length} bytes", struct.pack("<Q", length) + data[8:]
    for turn in range(ROUNDS):
        yield f"damage {turn}", damaged(data, random.Random(turn))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    first = next(key for key in header if key != "__metadata__")
    for what, changed in documents({first: header[first]}):
        text = json.dumps({**header, **changed} if isinstance(changed, dict) else changed).encode()
        yield f"header {what}", struct.pack("<Q", len(text)) + text + data[8 + length :]


def _changed(whole: Path, name: str, data: bytes, use: Callable[[Path], None]) -> None:
    path = whole / name
    before = path.read_bytes()
    try:
        path.write_bytes(data)
        use(whole)
    finally:
        path.write_bytes(before)


def _lacking(whole: Path, path: Path) -> None:
    aside = whole.with_name("aside")
    path.rename(aside)
    try:
        _use(whole)
    finally:
        aside.rename(path)


def _indexed(whole: Path, network: str, index: bytes) -> None:
    """Put an index of shards in place of a network's weights."""
    path, listed = whole / f"{network}.safetensors", whole / f"{network}.safetensors.index.json"
    aside = whole.with_name("aside")
    path.rename(aside)
    listed.write_bytes(index)
    try:
        _use(whole)
    finally:
        listed.unlink()
        aside.rename(path)


def _file(path: Path, data: bytes, config: Path) -> None:
    path.write_bytes(data)
    _take(Editor(load_pipeline(path, CPU, config=str(config), local_files_only=True)))


def _adapter(path: Path, data: bytes, base: Path) -> None:
    path.write_bytes(data)
    _take(Editor(load_pipeline(base, CPU, lora=path)))


def _use(folder: Path) -> None:
    _take(Editor(load_pipeline(folder, CPU)))


def _take(editor: Editor) -> None:
    """Take a model one step there and back."""
    inversion = editor.invert(latents=torch.zeros(1, 4, 8, 8), prompt="a cat", config=ONE_STEP)
    editor.reconstruct(inversion)


def _caches(hub: Path, whole: Path) -> Iterator[Case]:
    """Yield caches of the hub's client with a damaged model in them, which are listed."""
    index = json.loads((whole / "model_index.json").read_text())
    names = [(what, "model_index.json", data) for what, data in texts(index)]
    names += [(what, "model_index.json", as_json(changed)) for what, changed in documents(index)]
    shards = {"weight_map": {"a": "b.safetensors"}}
    names += [
        (what, "unet/diffusion_pytorch_model.safetensors.index.json", as_json(changed))
        for what, changed in documents(shards)
    ]
    for what, name, data in names:
        yield f"{name} {what}", partial(_listed, hub, whole, name, data)


def _listed(hub: Path, whole: Path, name: str, data: bytes) -> None:
    repository = hub / "models--someone--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.rmtree(hub, ignore_errors=True)
    shutil.copytree(whole, snapshot, copy_function=_link)
    (snapshot / "unet/diffusion_pytorch_model.safetensors").unlink()
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).write_bytes(data)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    cache = Cache(hub)
    for cached in cache.others(()):
        assert cached.family is None or cached.presence.state in ("here", "partly")


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)
