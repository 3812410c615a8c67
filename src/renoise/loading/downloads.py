"""What of a model is on this machine: whole pipelines, and what is left of interrupted downloads.

A folder is judged by its file names alone, without loading anything and without torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from renoise.loading.catalogue import Entry, family_of

INDEX = "model_index.json"
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
# Parts that have no weights, by how their names begin, and a file without which each is not what it was: a tokenizer
# without its files loads all the same, and reads every prompt as the same unknown word.
_WITHOUT_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"),
    "feature_extractor": ("preprocessor_config.json",),
    "image_processor": ("preprocessor_config.json",),
    "processor": ("preprocessor_config.json", "processor_config.json"),
}
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".bin")

State = Literal["here", "partly", "no"]


@dataclass(frozen=True)
class Presence:
    """What there is of one model.

    Attributes:
        state: "here", "partly" (an interrupted download) or "no".
        folder: where it is.
        missing: the parts that are not, or not whole.
        size: bytes on disk; None where they were not counted.
    """

    state: State = "no"
    folder: Path | None = None
    missing: tuple[str, ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class Cached:
    """A pipeline in the hub's cache.

    Attributes:
        name: its hub name.
        pipeline: its class in diffusers.
        presence: what there is of it.
    """

    name: str
    pipeline: str
    presence: Presence

    @property
    def family(self) -> str | None:
        """The family that it belongs to; None if it is not supported."""
        return family_of(self.pipeline)


class Cache:
    """The model repositories in the hub's cache.

    Args:
        folder: None is the hub client's own, which HF_HUB_CACHE and HF_HOME move. A folder that is not there is an
            empty cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        from huggingface_hub import CacheNotFound, scan_cache_dir
        from huggingface_hub.constants import HF_HUB_CACHE

        self.folder = Path(HF_HUB_CACHE).expanduser() if folder is None else folder
        self._snapshots: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        try:
            repositories = scan_cache_dir(self.folder).repos
        except (CacheNotFound, OSError, ValueError):
            return
        for repository in repositories:
            if repository.repo_type != "model" or not repository.revisions:
                continue
            revision = repository.refs.get("main") or max(repository.revisions, key=lambda r: r.last_modified)
            self._snapshots[repository.repo_id] = revision.snapshot_path
            self._sizes[repository.repo_id] = repository.size_on_disk

    def presence(self, entry: Entry) -> Presence:
        """What there is of a model of the catalogue."""
        snapshot = self._snapshots.get(entry.name)
        if snapshot is None:
            # The scan leaves out what it takes for damaged, such as a download that was cut off at its first file.
            begun = (self.folder / f"models--{entry.name.replace('/', '--')}").is_dir()
            return Presence("partly", missing=("all files",)) if begun else Presence()
        return self._judged(entry.name, snapshot, entry.kind)

    def others(self, known: Collection[str]) -> tuple[Cached, ...]:
        """Pipelines in the cache by other names than those, in the order of theirs."""
        found = []
        for name, snapshot in sorted(self._snapshots.items()):
            pipeline = pipeline_class(snapshot)
            if name not in known and pipeline is not None:
                found.append(Cached(name, pipeline, self._judged(name, snapshot, "pipeline")))
        return tuple(found)

    def _judged(self, name: str, snapshot: Path, kind: str) -> Presence:
        if kind == "pipeline":
            missing = missing_parts(snapshot)
            if missing and not missing_parts(snapshot, "fp16"):
                missing = ()
        elif kind == "adapter":
            missing = () if (snapshot / LORA_WEIGHTS).is_file() else (LORA_WEIGHTS,)
        else:
            missing = () if has_weights(snapshot) or has_weights(snapshot, "fp16") else ("weights",)
        return Presence("partly" if missing else "here", snapshot, missing, self._sizes.get(name))


def snapshot_of(name: str, options: Mapping[str, Any]) -> Path | None:
    """The folder in the hub's cache that a download of a pipeline left, whole or not; None if there is none.

    Args:
        name: its hub name.
        options: of the download: `cache_dir` and `revision` count.
    """
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(name, INDEX, options.get("cache_dir"), options.get("revision"))
    return Path(index).parent if isinstance(index, str) else None


def bundled(entry: Entry) -> Presence:
    """What there is of a bundled model."""
    if find_spec("renoise_mini") is None:
        return Presence()
    import renoise_mini

    try:
        folder = Path(renoise_mini.path(entry.name))
    except ValueError:
        return Presence()
    if entry.kind == "adapter":
        missing: tuple[str, ...] = () if (folder / LORA_WEIGHTS).is_file() else (LORA_WEIGHTS,)
    else:
        missing = missing_parts(folder)
    return Presence("partly" if missing else "here", folder, missing)


def pipeline_class(folder: Path) -> str | None:
    """The class in diffusers of a pipeline's folder; None if it is no such folder."""
    name = _index(folder).get("_class_name")
    # A pipeline with code of its own names a file and a class.
    return name[-1] if isinstance(name, list) and name else name if isinstance(name, str) else None


def family_in(folder: Path) -> str | None:
    """The family of a pipeline's folder; None if it is not supported, or no pipeline."""
    name = pipeline_class(folder)
    return None if name is None else family_of(name)


def component(folder: Path, part: str) -> tuple[str, str] | None:
    """(library, class) of a part of a pipeline; None if the pipeline does without it."""
    return _component(_index(folder).get(part))


def absent_parts(folder: Path) -> tuple[str, ...]:
    """The parts that a pipeline of that kind may have and this one does without, or can do without."""
    index = _index(folder)
    # The safety checker is never asked; without an image encoder it alone sees images through the feature extractor.
    checker = [] if _component(index.get("image_encoder")) else ["safety_checker", "feature_extractor"]
    gone = any(name in index and not (folder / name).is_dir() for name in checker)
    return tuple(name for name, value in index.items() if value == [None, None] or (gone and name in checker))


def missing_parts(
    folder: Path, variant: str | None = None, given: Collection[str] = (), *, weights: bool = True
) -> tuple[str, ...]:
    """What a pipeline's folder lacks, each in words; nothing if it is whole, as far as names tell.

    Args:
        folder: a pipeline's, with a model_index.json.
        variant: of the weights, such as "fp16"; parts that have none such are read as they are.
        given: names of parts that come from elsewhere.
        weights: whether they have to be there.

    Example:
        >>> missing_parts(Path("nowhere"))
        ('model_index.json',)
    """
    index = _index(folder)
    if not index:
        return (INDEX,)
    left_out = {*given, *absent_parts(folder)}
    wanted = [name for name, value in index.items() if _component(value) is not None and name not in left_out]
    return tuple(missing for name in wanted for missing in missing_of(folder, name, variant, weights=weights))


def missing_of(folder: Path, part: str, variant: str | None = None, *, weights: bool = True) -> tuple[str, ...]:
    """What a pipeline's folder lacks of one of its parts (see `missing_parts`)."""
    files = next((files for name, files in _WITHOUT_WEIGHTS.items() if part.startswith(name)), None)
    if files is not None:
        return () if any((folder / part / file).is_file() for file in files) else (f"{part}/{files[0]}",)
    missing = () if (folder / part / "config.json").is_file() else (f"{part}/config.json",)
    there = not weights or has_weights(folder / part) or (variant is not None and has_weights(folder / part, variant))
    return missing if there else (*missing, f"{part} weights")


def has_weights(folder: Path, variant: str | None = None) -> bool:
    """Whether the folder of one network holds its weights, in one file or in all of several."""
    infix = "" if variant is None else f".{variant}"
    for stem in _STEMS:
        for suffix in _SUFFIXES:
            if (folder / f"{stem}{infix}{suffix}").is_file():
                return True
            # Large weights come in shards, with a file that names them.
            for index in (folder / f"{stem}{suffix}.index{infix}.json", folder / f"{stem}{infix}{suffix}.index.json"):
                shards = set(read_json(index).get("weight_map", {}).values())
                if shards and all((folder / shard).is_file() for shard in shards):
                    return True
    return False


def _component(value: Any) -> tuple[str, str] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(entry, str) for entry in value):
        return value[0], value[1]
    return None


def _index(folder: Path) -> dict[str, Any]:
    return read_json(folder / INDEX)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none to read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
