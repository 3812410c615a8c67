"""The manifest of a job: all that decides its results, so that another configuration is never mixed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from renoise.errors import ConfigError, StorageError
from renoise.escaping import seen, shown
from renoise.jobs.blocks import Index, read_blocks
from renoise.jobs.places import File
from renoise.jobs.results import BLOCKS, MANIFEST, Folder
from renoise.jobs.rows import Block
from renoise.jobs.settings import JobSettings
from renoise.reading import parse_json, read_bytes, read_json

FORMAT = 1
# What takes part in making numbers and files.
_PACKAGES = ("renoise", "torch", "diffusers", "transformers", "peft", "numpy", "pillow", "pyarrow")
# A hundred million rows have fewer.
_LARGEST_BLOCKS = 2 * 2**30
# As many differences as an error lists.
_LISTED = 6


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of an input, told by their names, sizes and times."""

    files: int
    bytes: int
    digest: str

    @classmethod
    def of(cls, files: tuple[File, ...]) -> Inputs:
        """Return what tells these files from others."""
        lines = "".join(f"{json.dumps(file.path)} {file.size} {file.changed}\n" for file in files)
        return cls(len(files), sum(file.size for file in files), hashlib.sha256(lines.encode()).hexdigest()[:32])


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    source: str
    kind: str
    inputs: Inputs
    rows: int
    blocks: int
    ids: str
    model: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What a job is.

    Attributes:
        source: the input's name, absolute.
        kind: its format in words.
        inputs: its files.
        rows: the number of its rows.
        blocks: the number of its blocks.
        ids: a hash of its ids in their order.
        model: what the model is (`renoise.jobs.worker.Worker.facts`).
        settings: the job's.
        versions: of all packages that take part.
    """

    source: str
    kind: str
    inputs: Inputs
    rows: int
    blocks: int
    ids: str
    model: Mapping[str, Any]
    settings: JobSettings
    versions: Mapping[str, str]

    def write(self, folder: Folder, index: Index | None) -> None:
        """Write the manifest, after its blocks if they are given.

        Raises:
            StorageError: if that is not possible.
        """
        if index is not None:
            folder.write(BLOCKS, index.to_lines())
        record = {"format": FORMAT, **{field.name: getattr(self, field.name) for field in fields(self)}}
        record |= {"settings": self.settings.to_record(), "inputs": msgspec.to_builtins(self.inputs)}
        folder.write(MANIFEST, f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode())

    def differences(self, other: Manifest) -> list[str]:
        """Return in words what decides the results of two jobs differently: this one's, and what is asked for now."""
        found: list[str] = []
        if self.source != other.source:
            found.append(f"the input was {shown(self.source, 120)} and is {shown(other.source, 120)}")
        elif self.inputs != other.inputs:
            found.append(f"the input's files have changed: {_counted(self.inputs)}, and now {_counted(other.inputs)}")
        elif self.settings == other.settings and (self.rows, self.ids) != (other.rows, other.ids):
            found.append(f"the input's rows have changed: there were {self.rows}, and now {other.rows}")
        before, now = self.settings.to_record(), other.settings.to_record()
        found += [
            f"{key} was {seen(before[key], 60)} and is {seen(now[key], 60)}" for key in now if before[key] != now[key]
        ]
        names = sorted(set(self.versions) | set(other.versions))
        pairs = ((name, self.versions.get(name), other.versions.get(name)) for name in names)
        found += [f"{name} was {a or 'not there'} and is {b or 'not there'}" for name, a, b in pairs if a != b]
        return found


def require_same(before: Manifest, now: Manifest, folder: Path) -> None:
    """Check that a folder's job is the one that is asked for.

    Raises:
        ConfigError: if it is not; it says what differs.
    """
    found = before.differences(now)
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ConfigError(
            f"{folder} holds another job: {'; '.join(found[:_LISTED])}{more}",
            argument="out",
            remedy="give what it was begun with, or name another folder",
        )


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder, or None if it has none.

    Raises:
        StorageError: if it cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        record = msgspec.convert(read_json(path), _Record)
        settings = JobSettings.from_record(record.settings)
    except (msgspec.ValidationError, ConfigError) as error:
        raise StorageError(
            f"{path} is no manifest of a job: {error}", remedy="update renoise, or name another folder"
        ) from error
    if record.format != FORMAT:
        raise StorageError(
            f"{path} has format {record.format}, and this version reads {FORMAT}", remedy="update renoise"
        )
    return Manifest(
        record.source,
        record.kind,
        record.inputs,
        record.rows,
        record.blocks,
        record.ids,
        record.model,
        settings,
        record.versions,
    )


def require_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder.

    Raises:
        ConfigError: if the folder holds no job.
        StorageError: if it cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError(f"{folder} holds no job", argument="out", remedy="name the folder of one")
    return manifest


def read_index(folder: Path, manifest: Manifest) -> Index:
    """Return the blocks that a job was begun with.

    Raises:
        StorageError: if they cannot be read, or are none of the manifest's.
    """
    path = folder / BLOCKS
    lines = read_bytes(path, _LARGEST_BLOCKS).splitlines()
    blocks: tuple[Block, ...] = read_blocks([parse_json(line, str(path)) for line in lines])
    if (len(blocks), sum(block.count for block in blocks)) != (manifest.blocks, manifest.rows):
        raise StorageError(f"{path} does not fit the job's {MANIFEST}", remedy="name another folder")
    return Index(manifest.rows, blocks, manifest.ids)


def versions() -> dict[str, str]:
    """Return the versions of all packages that take part in a job's results."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _counted(inputs: Inputs) -> str:
    return f"{inputs.files} files of {inputs.bytes:,} bytes ({inputs.digest[:8]})"
