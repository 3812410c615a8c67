"""The models on this machine: bundled, in the hub's cache, or left in part by interrupted downloads."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from renoise.backbones import FAMILIES, PipelineBackbone
from renoise.environment import require_hub
from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.catalogue import Entry
from renoise.loading.folders import INDEX, LORA_WEIGHTS, has_weights, missing_parts, pipeline_class
from renoise.reading import read_bytes, read_json

# How the names of models' folders in the cache begin.
_MODELS = "models--"
_LONGEST_REVISION = 256

State = Literal["here", "partly", "damaged", "no"]


@dataclass(frozen=True)
class Presence:
    """The state of one model on this machine.

    Attributes:
        state: "here", "partly" (an interrupted download), "damaged" (its cache or its index makes no sense) or "no".
        folder: the folder that holds it; None if there is none.
        missing: the parts that are missing or not whole, or what is damaged.
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
        pipeline: the name of its class in diffusers; None if its index is damaged.
        presence: its state on this machine.
    """

    name: str
    pipeline: str | None
    presence: Presence

    @property
    def family(self) -> type[PipelineBackbone] | None:
        """The family that it belongs to; None if it is not supported."""
        return FAMILIES.get(self.pipeline or "")


class Cache:
    """The model repositories in the hub's cache.

    Args:
        folder: the cache's folder; None means the hub client's own, which HF_HUB_CACHE and HF_HOME move. A folder that
            does not exist is an empty cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            require_hub()
            from huggingface_hub.constants import HF_HUB_CACHE

            folder = Path(HF_HUB_CACHE).expanduser()
        self.folder = folder
        self._repositories = {path.name[len(_MODELS) :].replace("--", "/"): path for path in _repositories(folder)}

    def presence(self, entry: Entry) -> Presence:
        """Return the state of a model of the catalogue."""
        repository = self._repositories.get(entry.name)
        return Presence() if repository is None else _in_repository(repository, entry.holds, entry.file)

    def others(self, known: Collection[str]) -> tuple[Cached, ...]:
        """Return the pipelines in the cache that have none of the known names, sorted by name."""
        found = []
        for name, repository in sorted(self._repositories.items()):
            if name in known:
                continue
            presence = _in_repository(repository, "pipeline")
            pipeline = None if presence.folder is None else pipeline_class(presence.folder)
            # Repositories of other things than pipelines are none of these, and have no index.
            if pipeline is not None or presence.state == "damaged":
                found.append(Cached(name, pipeline, presence))
        return tuple(found)


def require_sound(name: str, options: Mapping[str, Any]) -> None:
    """Check what the hub's cache holds of a model, before the hub's client and diffusers believe it.

    Args:
        name: the repository's hub name.
        options: the options of the download, of which `cache_dir` counts.

    Raises:
        ModelError: if it is damaged.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(options.get("cache_dir") or HF_HUB_CACHE).expanduser()
    repository = folder / f"{_MODELS}{name.replace('/', '--')}"
    if not repository.is_dir():
        return
    presence = _in_repository(repository, "pipeline")
    if presence.state == "damaged":
        raise ModelError(
            f"model {name!r} is damaged in the cache of the model hub: {', '.join(presence.missing)}",
            argument="model",
            remedy=f"delete the folder {repository}, and download it again",
        )


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


def _repositories(folder: Path) -> list[Path]:
    """Return the folders of models in the cache."""
    try:
        return [path for path in folder.iterdir() if path.name.startswith(_MODELS) and path.is_dir()]
    except OSError:
        return []


def _in_repository(repository: Path, holds: str, weights: str | None = None) -> Presence:
    """Judge a model's folder in the cache; whatever is wrong with it is its own state."""
    try:
        snapshot = _snapshot(repository)
        if snapshot is None:
            return Presence("partly", missing=("all files",))
        size = _size(snapshot)
        if holds == "pipeline" and os.path.lexists(snapshot / INDEX):
            read_json(snapshot / INDEX, ModelError)  # raises an error that says why it cannot be read
            if pipeline_class(snapshot) is None:
                raise ModelError(f"{INDEX} names no pipeline")
        return _presence(snapshot, holds, size, weights)
    except (OSError, ValueError, ModelError) as error:
        return Presence("damaged", repository, (shown(error, 300),))


def _snapshot(repository: Path) -> Path | None:
    """Return the folder of the revision that is used, or of the newest; None if no file has been finished.

    Raises:
        ModelError: if the cache names a revision that is not there.
    """
    snapshots = repository / "snapshots"
    revisions = [path for path in snapshots.iterdir() if path.is_dir()] if snapshots.is_dir() else []
    if not revisions:
        return None
    reference = repository / "refs" / "main"
    if not os.path.lexists(reference):
        return max(revisions, key=lambda path: path.stat().st_mtime)
    name = read_bytes(reference, _LONGEST_REVISION, ModelError).decode("ascii", "replace").strip()
    found = next((path for path in revisions if path.name == name), None)
    if found is None:
        raise ModelError(f"refs/main names the revision {shown(name, 60)!r}, which is not in the cache")
    return found


def _size(snapshot: Path) -> int:
    """Count the bytes of the regular files that a snapshot links to, each once."""
    sizes = {}
    for path in snapshot.rglob("*"):
        try:
            status = path.stat()
        except OSError:  # a link to nothing, which is a file that is missing
            continue
        if stat.S_ISREG(status.st_mode):
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _presence(folder: Path, holds: str, size: int | None = None, weights: str | None = None) -> Presence:
    """Judge a folder that is to hold a pipeline, an adapter in a file or a network (see `Entry.holds`)."""
    if holds == "pipeline":
        missing = missing_parts(folder)
        if missing and not missing_parts(folder, "fp16"):
            missing = ()
    elif holds == "adapter":
        found = (folder / weights).is_file() if weights is not None else any(folder.glob("*.safetensors"))
        missing = () if found else (weights or LORA_WEIGHTS,)
    else:
        missing = () if has_weights(folder) or has_weights(folder, "fp16") else ("weights",)
    return Presence("partly" if missing else "here", folder, missing, size)
