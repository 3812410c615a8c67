"""Inversion files: every field of the record, the header, the tensors, damaged bytes, and what is no such file."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from hostile.values import VALUES, damaged, documents, texts, within
from hostile.worker import Case
from renoise import EditLosses, Editor, Inversion, InversionConfig, NoiseCorrection, Renoising, StorageError, storage
from renoise.cli.info import info
from renoise.cli.options import Describing

TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
KEY = "renoise.inversion"
ROUNDS = 800
# What is tried every time, however small the share.
ALWAYS = ("record:", "tensor", "bytes:", "no file:")


def cases(folder: Path) -> list[Case]:
    """Return hostile inversion files; each is loaded, described, saved again, and drawn by its model."""
    config = InversionConfig(
        num_steps=2,
        renoising=Renoising(2, weights=(0.0, 1.0, 1.0)),
        renoising_low_noise=Renoising(1, average=(0, 1)),
        edit_losses=EditLosses(steps=1, shifts=1),
        noise_correction=NoiseCorrection(0.5),
    )
    picture = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 30).convert("RGB")
    pictures, prompts = [picture, picture.rotate(180)], ["a tree", "a cat"]
    ancestral = _editor().with_scheduler("EulerAncestralDiscreteScheduler")
    inversion = ancestral.invert(
        pictures, prompts, config=config, fit="pad", edit_data="float32", keep_residual_history=True
    )
    inversion.save(folder / "whole")
    tensors, record = storage.read(folder / "whole")
    data = (folder / "whole").read_bytes()
    found: list[Case] = [("the honest file", partial(_use_bytes, folder, data))]
    for what, changed in documents(record):
        found.append((f"record: {what}", partial(_use_record, folder, tensors, json.dumps(changed))))
    for what, content in texts(record):
        found.append((f"record: {what}", partial(_use_record, folder, tensors, content.decode("latin-1"))))
    for what, changed in _other_samplers(record):
        found.append((f"sampler: {what}", partial(_use_record, folder, tensors, json.dumps(changed))))
    for name in (*tensors, "unknown", "image_embeds_0", "image_embeds_7", "__metadata__", ""):
        for what, change in CHANGES.items():
            found.append((f"tensor {name!r}: {what}", partial(_use_tensor, folder, tensors, record, name, change)))
    found += [(f"header: {what}", partial(_use_header, folder, data, change)) for what, change in _headers(data)]
    found += [(f"bytes: {what}", partial(_use_bytes, folder, content)) for what, content in _contents(data)]
    for turn in range(ROUNDS):
        found.append((f"damage {turn}", partial(_use_bytes, folder, damaged(data, random.Random(turn)))))
    found += [(f"no file: {what}", partial(_use, folder / "x", make)) for what, make in NO_FILES.items()]
    return found


@cache
def _editor() -> Editor:
    return Editor.from_pretrained(TINY, device="cpu")


def _other_samplers(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield records of every sampler, with each of its settings replaced."""
    import diffusers

    from renoise.schedulers import SUPPORTED, describe

    for name in SUPPORTED:
        described = json.loads(json.dumps(describe(getattr(diffusers, name)())))
        for what, changed in documents(described):
            yield f"{name}, {what}", {**record, "scheduler": changed}


# From a tensor to one that stands in its place; None takes it out.
CHANGES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "gone": lambda t: None,
    "NaN": lambda t: t * torch.nan,
    "infinity": lambda t: t + torch.inf,
    "huge": lambda t: torch.full_like(t, 3e38 if t.is_floating_point() else 255),
    "zeros": torch.zeros_like,
    "half": lambda t: t.half(),
    "bfloat16": lambda t: t.bfloat16(),
    "double": lambda t: t.double(),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "complex": lambda t: t.to(torch.complex64),
    "whole numbers": lambda t: t.long(),
    "truth values": lambda t: t > 0,
    "bytes": lambda t: t.to(torch.uint8),
    "none of it": lambda t: t[:0],
    "a number": lambda t: t.flatten()[0],
    "flat": lambda t: t.flatten(),
    "more dimensions": lambda t: t[None],
    "a part": lambda t: t[:1],
    "twice": lambda t: torch.cat([t, t]),
    "wider": lambda t: torch.cat([t, t], dim=-1),
    "a column": lambda t: t[..., :1],
    "large": lambda t: torch.zeros(64, 1024, 32),
}


def _headers(data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield hostile headers of a safetensors file."""
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    yield from within(header, ("latents",), VALUES)
    yield from within(header, ("noise",), VALUES)
    yield from within(header, ("__metadata__",), VALUES)
    for shape in ([1, 4, 100_000, 100_000], [2**63], [2**32, 2**32], [-1, -4], [0], [1] * 1000):
        for name in ("latents", "noise", "image_embeds_0"):
            size = 4
            for side in shape:
                size *= side
            yield (
                f"{name} of {str(shape)[:30]}",
                {**header, name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}},
            )
    for dtype in ("F8_E4M3", "I64", "BOOL", "C64", "F4", "F6_E2M3", "f32", "", "x" * 10_000, "\x1b[2J"):
        yield f"type {dtype[:9]!r}", {**header, "latents": {**header["latents"], "dtype": dtype}}
    yield (
        "many tensors",
        {**header, **{f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}},
    )
    yield "many keys", {**header, "__metadata__": {**header["__metadata__"], **{f"k{i}": "v" for i in range(50_000)}}}
    yield "a name of controls", {**header, "\x1b[2J\x00\n": header["latents"]}


def _contents(data: bytes) -> Iterator[tuple[str, bytes]]:
    for end in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        yield f"the first {end}", data[:end]
    yield "a byte more", data + b"\0"
    yield "twice", data + data
    for length in (0, 1, 2, 2**31, 2**32, 2**63, 2**64 - 1, 100_000_001):
        yield f"a header of {length} bytes", struct.pack("<Q", length) + data[8:]
    for what, content in texts({"a": 1}):
        yield f"header {what}", struct.pack("<Q", len(content)) + content
    for magic in (
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04",
        b"\x80\x04\x95",
        b"GGUF",
        b"\xff\xd8\xff",
        b"version https://git-lfs",
    ):
        yield f"what begins with {magic!r}", magic + data


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"\x10" + b"\0" * 7 + b'{"a": 1}')
        file.truncate(2**42)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _secret(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a sparse file of 4 TiB": _sparse,
    "a link in a loop": _loop,
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "a file that may not be read": _secret,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/null": lambda path: path.symlink_to("/dev/null"),
    "/dev/tty": lambda path: path.symlink_to("/dev/tty"),
    "/proc/self/mem": lambda path: path.symlink_to("/proc/self/mem"),
    "/proc/kmsg": lambda path: path.symlink_to("/proc/kmsg"),
}


def _use_record(folder: Path, tensors: dict[str, Tensor], text: str) -> None:
    _use_bytes(folder, save(tensors, {KEY: text.encode("utf-8", "replace").decode()}))


def _use_tensor(
    folder: Path,
    tensors: dict[str, Tensor],
    record: dict[str, Any],
    name: str,
    change: Callable[[Tensor], Tensor | None],
) -> None:
    changed = change(tensors.get(name, tensors["residuals"]))
    others = {key: tensor for key, tensor in tensors.items() if key != name}
    held = others if changed is None else {**others, name: changed}
    _use_bytes(folder, save({key: t.clone() for key, t in held.items()}, {KEY: json.dumps(record)}))


def _use_header(folder: Path, data: bytes, header: Any) -> None:
    text = json.dumps(header).encode()
    (length,) = struct.unpack("<Q", data[:8])
    _use_bytes(folder, struct.pack("<Q", len(text)) + text + data[8 + length :])


def _use_bytes(folder: Path, data: bytes) -> None:
    _use(folder / "x", lambda path: path.write_bytes(data))


def _use(path: Path, make: Callable[[Path], object]) -> None:
    """Load, describe, save and draw an inversion: a file that is none of one must be refused when it is loaded."""
    make(path)
    try:
        try:
            inversion = Inversion.load(path)
        except StorageError:
            raise
        except Exception as error:
            raise AssertionError(f"loading raised {type(error).__name__}: {str(error)[:200]}") from error
        info(path, Describing())
        info(path, Describing(json=True))
        again = path.with_name("again")
        inversion.save(again)
        assert Inversion.load(again).config == inversion.config
        again.unlink()
        _editor().reconstruct(inversion, force=True)
    finally:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
