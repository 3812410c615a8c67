"""Data sets of every format, and the results of an evaluation: every field, damaged texts, and what is no file."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hostile.values import VALUES, as_json, damaged, documents, texts
from hostile.worker import Case
from renoise import InversionConfig
from renoise.evaluation import data
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.registry import method_from
from renoise.evaluation.report import page
from renoise.evaluation.results import RESULTS, Results
from renoise.evaluation.summary import as_csv, as_markdown, summarise

ROUNDS = 120
# What is tried every time, however small the share.
ALWAYS = ("captions:", "COCO:", "PIE-Bench:", "CSV:", "text:", "name:")
CAPTION = {"file": "a.png", "caption": "a lion", "edits": ["a tiger", "a cat"]}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 640, "height": 480}],
    "annotations": [{"id": 5, "image_id": 1, "caption": "a lion"}],
}
PIE_BENCH = {
    "000000": {
        "image_path": "a.png",
        "original_prompt": "a [lion]",
        "editing_prompt": "a [tiger]",
        "editing_type_id": "1",
        "mask": [10, 3, 700, 9],
    }
}
SAVED = {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "a", "_format_columns": None, "_split": "train"}
MEASURED = Measurement(
    key="0123456789",
    run="table2",
    label="ReNoise",
    row=0,
    model="mini",
    dtype="float32",
    device="cpu",
    data="mini-heldout",
    image="a.png",
    prompt="a lion",
    settings=ReNoise(InversionConfig()).settings(),
    num_inversion_steps=4,
    num_steps=4,
    iterations=9,
    seed=0,
    versions={"renoise": "0.1.0"},
    psnr=30.0,
    psnr_bound=31.0,
    passes_inversion=4,
    seconds=1.0,
    residual_history=((0.5, 0.1), (0.2,)),
    timesteps=(999.0, 499.0),
    index=0,
    scheduler={"class": "DDIMScheduler", "config": {}},
    image_hash="0123",
)


def cases(folder: Path) -> list[Case]:
    """Return hostile data sets, which are loaded, and results, which are read and made into tables and a report."""
    found: list[Case] = []
    for sort, name, document, act in (
        ("captions", "captions.jsonl", CAPTION, data.load),
        ("COCO", "captions_val2017.json", COCO, lambda folder: data.load(folder / "captions_val2017.json")),
        ("PIE-Bench", "mapping_file.json", PIE_BENCH, data.load),
        ("saved", "state.json", SAVED, data.load),
        ("splits", "dataset_dict.json", {"splits": ["train"]}, data.load),
        ("results", RESULTS, json.loads(MEASURED.as_line()), _results),
    ):
        whole = as_json(document)
        contents: Iterator[tuple[str, bytes]] = (
            pair
            for pairs in (
                [("whole", whole)],
                texts(document),
                ((what, as_json(changed)) for what, changed in documents(document)),
                ((f"damage {n}", damaged(whole, random.Random(n))) for n in range(ROUNDS)),
                [("a line too many", whole + b"\n" + whole + b"\n"), ("no end", whole + b"\n" + whole[:40])],
            )
            for pair in pairs
        )
        found += [(f"{sort}: {what}", partial(_with, folder, name, content, act)) for what, content in contents]
        found += [(f"{sort}: {what}", partial(_with, folder, name, make, act)) for what, make in NO_FILES.items()]
    for what, content in _tables():
        found.append((f"CSV: {what}", partial(_with, folder, "captions.csv", content, data.load)))
    for what, value in VALUES.items():
        text = value if isinstance(value, str) else json.dumps(value)
        content = text.encode("utf-8", "surrogatepass")
        found.append((f"text: {what}", partial(_with, folder, "a.txt", content, data.load)))
    for what, make in NO_FILES.items():
        found.append((f"text: {what}", partial(_with, folder, "a.txt", make, data.load)))
    for name in ("a/b", "hf:a/b:c", "/dev/zero", "/dev/null", "", "\0", "x" * 5000, "~nobody/x", "\x1b[2J", "\ud800"):
        found.append((f"name: {name[:20]!r}", partial(data.load, name)))
    return found


def _tables() -> Iterator[tuple[str, bytes]]:
    head = "file,caption,edits\n"
    yield "whole", f"{head}a.png,a lion,a tiger|a cat\n".encode()
    for what, value in VALUES.items():
        text = value if isinstance(value, str) else json.dumps(value)
        for row in ((text, "a", "b"), ("a.png", text, "b"), ("a.png", "a", text)):
            file = io.StringIO()
            csv.writer(file).writerow(row)
            yield f"{what} as {row.index(text)}", (head + file.getvalue()).encode("utf-8", "surrogatepass")
    yield "a quote that does not end", f'{head}"a.png,a,b\n'.encode() * 3
    yield "no header", b"\n\n"
    yield "a header alone", head.encode()
    yield "columns twice", b"file,file,caption\na,b,c\n"
    yield "columns too many", f"{head}a,b,c,d,e\n".encode()
    yield "columns too few", f"{head}a\n".encode()
    yield "nul", f"{head}a\0b,c,d\n".encode()
    yield "a cell of 200,000", f"{head}a.png,{'x' * 200_000},b\n".encode()
    yield "10,000 columns", b"a," * 10_000 + b"\n" + b"b," * 10_000
    whole = f"{head}a.png,a lion,a tiger|a cat\n".encode()
    yield from ((f"damage {n}", damaged(whole, random.Random(n))) for n in range(ROUNDS))


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link in a loop": lambda path: path.symlink_to(path),
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/null": lambda path: path.symlink_to("/dev/null"),
    "a sparse file of 1 TiB": _large,
}


def _with(folder: Path, name: str, content: bytes | Callable[[Path], object], act: Callable[[Path], object]) -> None:
    inner = folder / "set"
    shutil.rmtree(inner, ignore_errors=True)
    (inner / "annotation_images").mkdir(parents=True)
    for place in ("", "annotation_images"):
        (inner / place / "a.png").write_bytes(b"x")
    path = inner / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    act(inner)


def _results(folder: Path) -> None:
    """Read results, add one, and make the tables and the report."""
    results = Results(folder / RESULTS)
    measurements: list[Any] = results.all()
    for m in measurements:
        results.done(m.key)
    if not measurements:
        return
    summary = summarise(measurements)
    as_csv(summary).encode()
    as_markdown(summary).encode()
    page(folder, "hostile", measurements, summary, {}).encode()
    method_from(measurements[0].settings)
