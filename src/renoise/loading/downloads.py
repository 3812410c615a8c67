"""The models on this machine: bundled, in the hub's cache, or left in part by interrupted downloads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from renoise.backbones import FAMILIES, PipelineBackbone
from renoise.loading.catalogue import Entry
from renoise.loading.folders import INDEX, LORA_WEIGHTS, has_weights, missing_parts, pipeline_class

State = Literal["here", "partly", "no"]


@dataclass(frozen=True)
class Presence:
    """The state of one model on this machine.

    Attributes:
        state: "here", "partly" (an interrupted download) or "no".
        folder: the folder that holds it; None if there is none.
        missing: the parts that are missing or not whole.
        size: the bytes on disk; None if they were not counted.
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
        pipeline: the name of its class in diffusers.
        presence: its state on this machine.
    """

    name: str
    pipeline: str
    presence: Presence

    @property
    def family(self) -> type[PipelineBackbone] | None:
        """The family that it belongs to; None if it is not supported."""
        return FAMILIES.get(self.pipeline)


class Cache:
    """The model repositories in the hub's cache.

    Args:
        folder: the cache's folder; None means the hub client's own, which HF_HUB_CACHE and HF_HOME move. A folder that
            does not exist is an empty cache.
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
        """Return the state of a model of the catalogue."""
        snapshot = self._snapshots.get(entry.name)
        if snapshot is None:
            # The scan leaves out what it takes for damaged, such as a download that was cut off at its first file.
            begun = (self.folder / f"models--{entry.name.replace('/', '--')}").is_dir()
            return Presence("partly", missing=("all files",)) if begun else Presence()
        return _presence(snapshot, entry.holds, self._sizes.get(entry.name))

    def others(self, known: Collection[str]) -> tuple[Cached, ...]:
        """Return the pipelines in the cache that have none of the known names, sorted by name."""
        found = []
        for name, snapshot in sorted(self._snapshots.items()):
            pipeline = pipeline_class(snapshot)
            if name not in known and pipeline is not None:
                found.append(Cached(name, pipeline, _presence(snapshot, "pipeline", self._sizes.get(name))))
        return tuple(found)


def snapshot_of(name: str, options: Mapping[str, Any]) -> Path | None:
    """Return the folder in the hub's cache that a download of a pipeline left, whole or not; None if there is none.

    Args:
        name: the pipeline's hub name.
        options: the options of the download, of which `cache_dir` and `revision` count.
    """
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(name, INDEX, options.get("cache_dir"), options.get("revision"))
    return Path(index).parent if isinstance(index, str) else None


def bundled(entry: Entry) -> Presence:
    """Return the state of a bundled model."""
    if find_spec("renoise_mini") is None:
        return Presence()
    import renoise_mini

    try:
        folder = Path(renoise_mini.path(entry.name))
    except ValueError:
        return Presence()
    return _presence(folder, entry.holds)


def _presence(folder: Path, holds: str, size: int | None = None) -> Presence:
    """Judge a folder that is to hold a pipeline, an adapter or a network (see `Entry.holds`)."""
    if holds == "pipeline":
        missing = missing_parts(folder)
        if missing and not missing_parts(folder, "fp16"):
            missing = ()
    elif holds == "adapter":
        missing = () if (folder / LORA_WEIGHTS).is_file() else (LORA_WEIGHTS,)
    else:
        missing = () if has_weights(folder) or has_weights(folder, "fp16") else ("weights",)
    return Presence("partly" if missing else "here", folder, missing, size)
