"""Inputs of jobs in all formats, with the same images; jobs over 48 of them, and what they leave behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TARGETS = ["a dog", "a fox"]


def png(number: int, size: int = 40) -> bytes:
    """Return an image that is another one for every number, as the bytes of its file."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [0.5 + 0.5 * np.sin((3 + number % 7) * x + number), y, (x - 0.5) ** 2 + (number % 5) * y / 5]
    buffer = io.BytesIO()
    Image.fromarray((np.stack(waves, axis=-1).clip(0, 1) * 255).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def records(count: int, *, bad: bool = False) -> list[dict[str, Any]]:
    """Return rows, of which four cannot be worked on if asked for: no image twice, no caption, and no target."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"row-{n:03d}",
            "image": png(n),
            "caption": "a cat " * (n % 4 + 1),
            "targets": TARGETS[: n % 2 + 1],
        }
        for n in range(count)
    ]
    if bad:
        rows[3]["image"] = b"no image"
        rows[11]["image"] = png(11)[:200]
        rows[20]["caption"] = None
        rows[31]["targets"] = []
    return rows


def as_parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def as_folder(folder: Path, rows: list[dict[str, Any]], name: str = "metadata.jsonl") -> Path:
    """Write a folder of images, with a list or with a text file beside each."""
    folder.mkdir(parents=True)
    lines = []
    for row in rows:
        file = f"{row['id']}.png"
        (folder / file).write_bytes(row["image"])
        lines.append({"id": row["id"], "file_name": file, "text": row["caption"], "targets": row["targets"]})
        if not name:
            (folder / f"{row['id']}.txt").write_text(row["caption"])
    if name.endswith(".jsonl"):
        (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    elif name:
        cells = [[one["id"], one["file_name"], f'"{one["text"]}"', "|".join(one["targets"])] for one in lines]
        (folder / name).write_text("".join(f"{','.join(row)}\n" for row in [list(lines[0]), *cells]))
    return folder


def as_shards(folder: Path, rows: list[dict[str, Any]], each: int = 5) -> Path:
    folder.mkdir(parents=True)
    for start in range(0, len(rows), each):
        with tarfile.open(folder / f"{start:05d}.tar", "w") as tar:
            for row in rows[start : start + each]:
                about = json.dumps({"targets": row["targets"]}).encode()
                for extension, data in (("png", row["image"]), ("txt", row["caption"].encode()), ("json", about)):
                    member = tarfile.TarInfo(f"{row['id']}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def as_saved(folder: Path, rows: list[dict[str, Any]], each: int = 4) -> Path:
    """Write what `save_to_disk` of `datasets` writes: Arrow streams, and a file that lists them."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([{**row, "image": {"bytes": row["image"], "path": None}} for row in rows])
    half = len(rows) // 2
    names = []
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        names.append(f"data-{number:05d}-of-00002.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(part, max_chunksize=each)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


TINY = Path(__file__).parent / "data" / "tiny-sd"
# What decides the results of the jobs of these tests.
SETTINGS: dict[str, Any] = {
    "targets_column": "targets",
    "model": str(TINY),
    "device": "cpu",
    "preset": "reverse",
    "num_steps": 2,
    "rows_per_block": 6,
    "batch": 4,
}
# The same as options.
OPTIONS = (
    *("--targets-column", "targets", "--model", str(TINY), "--device", "cpu", "--preset", "reverse", "--steps", "2"),
    *("--rows-per-block", "6", "--batch", "4"),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all results of a job, by their paths."""
    files = (path for name in ("edits", "inversions", "metrics") for path in (folder / name).rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


def table(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all tables of a job."""
    import pyarrow.parquet as pq

    return [row for path in sorted((folder / "metrics").iterdir()) for row in pq.read_table(path).to_pylist()]


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "renoise", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
