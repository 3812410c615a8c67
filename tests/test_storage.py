"""Inversions on disk: whole, portable, and refused when they are not what they should be."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from renoise import (
    EditLosses,
    Editor,
    Inversion,
    InversionConfig,
    ModelError,
    RenoiseError,
    Renoising,
    StorageError,
    storage,
)
from renoise.inversion_record import require_inversion
from renoise.reading import MAX_JSON_BYTES

CONFIG = InversionConfig(num_steps=3, renoising=Renoising(2, weights=(0.0, 1.0, 1.0)), renoising_low_noise=Renoising(1))
MakeEditor = Callable[..., Editor]


_made: list[Inversion] = []


@pytest.fixture
def inversion(make_editor: MakeEditor, picture: Image.Image) -> Inversion:
    """An inversion of two images, made once, because it cannot be changed."""
    if not _made:
        editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
        _made.append(editor.invert([picture, picture], ["a lion", "a cat"], config=CONFIG, keep_trajectory=True))
    return _made[0]


def test_everything_comes_back(inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    for name in ("latents", "noise", "residuals", "trajectory"):
        assert torch.equal(getattr(loaded, name), getattr(inversion, name)), name
    assert loaded.residual_history is None
    for name in ("config", "prompt", "negative_prompt", "seed", "size", "fits", "batched", "network_passes"):
        assert getattr(loaded, name) == getattr(inversion, name), name
    assert loaded.fingerprint == inversion.fingerprint


def test_a_loaded_inversion_reconstructs_the_same(
    inversion: Inversion, make_editor: MakeEditor, tmp_path: Path
) -> None:
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    # a pipeline loaded afresh, with another scheduler: the file knows its own
    elsewhere = make_editor(scheduler="DDIMScheduler")
    expected = make_editor(scheduler="EulerAncestralDiscreteScheduler").reconstruct(inversion, "latent")
    assert torch.equal(elsewhere.reconstruct(loaded, "latent"), expected)


def test_equal_inversions_are_equal_bytes(make_editor: MakeEditor, picture: Image.Image, tmp_path: Path) -> None:
    for name in ("a", "b"):
        editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
        editor.invert(picture, "a lion", config=CONFIG).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = InversionConfig(num_steps=3, renoising=Renoising(2), seed=1)
    make_editor(scheduler="EulerAncestralDiscreteScheduler").invert(picture, "a lion", config=other).save(
        tmp_path / "c"
    )
    assert not torch.equal(load_file(tmp_path / "a")["noise"], load_file(tmp_path / "c")["noise"])


def test_another_model_is_refused_unless_forced(inversion: Inversion, make_editor: MakeEditor) -> None:
    other = make_editor()
    with torch.no_grad():
        for parameter in other.pipe.unet.parameters():
            parameter.mul_(1.1)
    with pytest.raises(ModelError, match="was made with"):
        other.reconstruct(inversion)
    assert len(other.reconstruct(inversion, force=True)) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_same_model_in_another_precision_is_accepted(inversion: Inversion, data: Path, dtype: str) -> None:
    editor = Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype=dtype)
    assert len(editor.reconstruct(inversion)) == 2


def test_damaged_and_foreign_files_are_refused(inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "good.safetensors")
    whole = (tmp_path / "good.safetensors").read_bytes()
    bad = {
        "empty": b"",
        "garbage": b"\x00garbage" * 100,
        "cut": whole[: len(whole) - 100],
        "header": whole[:50],
        "flipped": whole[:8] + bytes([whole[8] ^ 0xFF]) + whole[9:],
        "picture": b"\x89PNG\r\n\x1a\n" + b"0" * 64,
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StorageError) as caught:
            Inversion.load(tmp_path / name)
        assert "\n" not in str(caught.value), name
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(StorageError, match="not an inversion"):
        Inversion.load(tmp_path / "foreign")
    with pytest.raises(StorageError, match="no file"):
        Inversion.load(tmp_path / "missing")
    with pytest.raises(StorageError, match="directory"):
        Inversion.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"config": None},
        {"config": {"num_steps": 0}},
        {"size": None},
        {"size": [1]},
        {"size": ["a", "b"]},
        {"fits": [1]},
        {"fits": []},
        {"fits": [{"mode": "shrink", "original_size": [80, 100]}]},
        {"fits": [{"mode": "pad", "original_size": [10**6, 10**6]}]},
        {"fits": [{"mode": "pad", "original_size": [80, 100], "box": [0, 0, 10**6, 1]}]},
        {"fits": [{"mode": "pad", "original_size": [80, 100], "box": [0, 0, 0, 1]}]},
        {"fits": [{"mode": "pad", "original_size": [80, 100], "box": [-1, 0, 1, 1]}]},
        {"fits": [{"mode": "pad", "original_size": [80, 100], "box": [0, 0, 1]}]},
        {"batched": "no"},
        {"batched": False},
        {"prompt": 5},
        {"prompt": ["one"]},
        {"negative_prompt": 5},
        {"seed": "0"},
        {"network_passes": None},
        {"scheduler": None},
        {"scheduler": ["x"]},
        {"scheduler": {"class": ["x"], "config": {}}},
        {"scheduler": {"class": "DDIMScheduler", "config": None}},
        {"fingerprint": {}},
        {"fingerprint": None},
        {"fingerprint": {"layout": "x", "adapters": "", "weights": ["a"]}},
    ],
)
def test_records_that_make_no_sense_are_refused(
    inversion: Inversion, tmp_path: Path, change: dict[str, object]
) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    metadata = {"renoise.inversion": json.dumps({**record, **change})}
    save_file(tensors, tmp_path / "bad", metadata=metadata)
    with pytest.raises(StorageError):
        Inversion.load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        # What was not looked at once: lists where words belong, and numbers that take gigabytes.
        (("config", "edit_losses", "released_procedure"), [1]),
        (("config", "edit_losses", "released_procedure"), 1),
        (("config", "num_steps"), 10**9),
        (("config", "num_steps"), 4.0),
        (("config", "renoising", "weights"), "abc"),
        (("config", "renoising", "iterations"), 10**12),
        (("config", "unheard_of"), 1),
        (("config", "renoising", "unheard_of"), 1),
        (("config", "solver"), {"name": "renoising", "iterations": [1]}),
        (("scheduler", "config", "num_train_timesteps"), 10**9),
        (("scheduler", "config", "num_train_timesteps"), [1000]),
        (("scheduler", "config", "beta_schedule"), ["linear"]),
        (("scheduler", "config", "trained_betas"), [0.1] * 200_000),
        (("scheduler", "config", "trained_betas"), [[0.1]]),
        (("scheduler", "config", "timestep_spacing"), None),
        (("scheduler", "config", "steps_offset"), -5),
        (("scheduler", "config", "unheard_of"), {"a": 1}),
        (("scheduler", "unheard_of"), 1),
        (("scheduler", "shift"), "3"),
        (("fingerprint", "weights"), [float("nan")]),
        (("fingerprint", "weights"), [True]),
        (("fingerprint", "unheard_of"), 1),
        (("prompt",), ["a", "\ud800"]),
        (("prompt",), ["a", "x" * 10_000_000]),
        (("negative_prompt",), ["a"] * 20_000),
        (("model",), "x" * 10_000_000),
        (("seed",), 2**63),
        (("network_passes",), -1),
        (("network_passes",), 10**400),
        (("size",), [10**5, 10**5]),
        (("size",), [64, 64, 64]),
        (("size",), [63, 64]),
        (("fits",), [{"mode": "pad", "original_size": [80, 100], "unheard_of": 1}] * 2),
        (("unheard_of",), 1),
        (("config",), [[[[[[[[1]]]]]]]]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_every_setting_is_of_its_type_and_in_its_bounds(
    inversion: Inversion, tmp_path: Path, place: tuple[str, ...], value: object
) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    record["config"]["edit_losses"] = asdict(EditLosses())
    holder = record
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    save_file(tensors, tmp_path / "bad", metadata={"renoise.inversion": json.dumps(record)})
    with pytest.raises(StorageError) as caught:
        Inversion.load(tmp_path / "bad")
    assert len(str(caught.value)) < 1300


def test_what_this_version_does_not_know_is_refused_with_its_name(inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    for name, changed in {
        "ears": {**record, "config": {**record["config"], "ears": 1}},
        "masks": {**record, "masks": []},
    }.items():
        save_file(tensors, tmp_path / "new", metadata={"renoise.inversion": json.dumps(changed)})
        with pytest.raises(StorageError, match=name):
            Inversion.load(tmp_path / "new")
    save_file({**tensors, "mask": torch.zeros(1)}, tmp_path / "new", metadata={"renoise.inversion": json.dumps(record)})
    with pytest.raises(StorageError, match="tensor mask is unknown to this version of renoise; update renoise"):
        Inversion.load(tmp_path / "new")


@pytest.mark.parametrize("old", sorted(p.name for p in (Path(__file__).parent / "data" / "inversions").iterdir()))
def test_files_of_earlier_versions_load_and_are_saved_as_they_were(data: Path, tmp_path: Path, old: str) -> None:
    whole = data / "inversions" / old
    Inversion.load(whole).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == whole.read_bytes()


def rewritten(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A safetensors file with a changed header and the same payload."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["latents"].update(shape=[2, 4, 100_000, 100_000]),
        lambda h: h["latents"].update(shape=[2, 4, 100_000, 100_000], data_offsets=[0, 4 * 8 * 10**10]),
        lambda h: h["latents"].update(shape=[2] * 5000),
        lambda h: h["latents"].update(shape=[2, 4, 8, -8]),
        lambda h: h["latents"].update(shape=[2, 4, 2**63, 2**63]),
        lambda h: h["latents"].update(dtype="I64"),
        lambda h: h["latents"].update(dtype="F8_E4M3"),
        lambda h: h["latents"].update(dtype=["F32"]),
        lambda h: h["latents"].pop("data_offsets"),
        lambda h: h.update(latents=None),
        lambda h: h.update({"\x1b[2J": h["latents"]}),
        lambda h: h.update({f"image_embeds_{i}": h["residuals"] for i in range(1, 4)}),
        lambda h: h.update({f"image_embeds_{i}": h["residuals"] for i in range(1000)}),
        lambda h: h["__metadata__"].update(padding="x" * (MAX_JSON_BYTES + 1)),
        lambda h: h.update(__metadata__=[1]),
        lambda h: h.update(__metadata__={"renoise.inversion": 1}),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    inversion: Inversion, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    inversion.save(tmp_path / "good")
    bad = tmp_path / "bad"
    bad.write_bytes(rewritten((tmp_path / "good").read_bytes(), change))
    with pytest.raises(StorageError):
        Inversion.load(bad)


def test_what_a_file_says_is_looked_at_before_its_tensors_are_read(
    inversion: Inversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inversion.save(tmp_path / "good")
    bad = tmp_path / "bad"
    bad.write_bytes(
        rewritten(
            (tmp_path / "good").read_bytes(),
            lambda h: h["__metadata__"].update(
                {"renoise.inversion": h["__metadata__"]["renoise.inversion"].replace('"batched": true', '"batched": 1')}
            ),
        )
    )
    monkeypatch.setattr(storage, "load", lambda data: pytest.fail("the tensors were read"))
    with pytest.raises(StorageError, match="batched"):
        Inversion.load(bad)
    # 4 TiB that take no space on the disk
    with bad.open("r+b") as file:
        file.truncate(2**42)
    with pytest.raises(StorageError, match="may be read"):
        Inversion.load(bad)
    # 3 GiB behind an honest header
    bad.write_bytes((tmp_path / "good").read_bytes())
    with bad.open("r+b") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(StorageError, match="its tensors have"):
        Inversion.load(bad)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to the pipe").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "to the pipe", "loop", "zero"):
        with pytest.raises(StorageError, match=r"pipe or a device|cannot be opened"):
            Inversion.load(tmp_path / name)


def test_a_file_that_is_cut_while_it_is_read_is_refused(
    inversion: Inversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i.safetensors"
    inversion.save(path)

    def cut(*arguments: Any) -> None:
        require_inversion(*arguments)
        os.truncate(path, path.stat().st_size - 100)

    monkeypatch.setattr(storage, "require_inversion", cut)
    with pytest.raises(StorageError, match="cut short"):
        Inversion.load(path)


def test_a_loaded_inversion_does_not_depend_on_its_file(inversion: Inversion, tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    inversion.save(path)
    loaded = Inversion.load(path)
    path.write_bytes(b"\xff" * 100)  # tensors that are mapped to a file would change with it, or end the process
    assert torch.equal(loaded.latents, inversion.latents)


def test_what_load_would_refuse_is_not_saved(inversion: Inversion, tmp_path: Path) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"prompt": ["a", "\ud800"]},
        {"prompt": ["a", "x" * 2_000_000]},
        {"fingerprint": {**inversion.fingerprint, "unheard_of": 1}},
        {"scheduler": {"class": "DDIMScheduler", "config": {"trained_betas": torch.ones(3)}}},
        {"scheduler": {"class": "DDIMScheduler", "config": {"num_train_timesteps": 10**9}}},
        {"size": (63, 64)},
        {"latents": inversion.latents.long()},
        {"latents": inversion.latents[:1]},
        {"noise": "noise"},
        {"fits": (1, 2)},
    )
    for change in changes:
        with pytest.raises(StorageError, match="cannot be saved"):
            replace(inversion, **change).save(tmp_path / "i.safetensors")
    assert not list(tmp_path.iterdir())


def test_tensors_may_share_their_memory(inversion: Inversion, tmp_path: Path) -> None:
    assert inversion.trajectory is not None
    replace(inversion, latents=inversion.trajectory[-1]).save(tmp_path / "i.safetensors")
    assert torch.equal(Inversion.load(tmp_path / "i.safetensors").latents, inversion.latents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train_timesteps": 5000}, "5,000 timesteps"),
        ({"num_train_timesteps": 100_000}, "100,000 timesteps"),
    ],
)
def test_samplers_of_other_models_are_refused_when_they_are_used(
    inversion: Inversion, make_editor: MakeEditor, change: dict[str, Any], message: str
) -> None:
    scheduler = {**inversion.scheduler, "config": {**inversion.scheduler["config"], **change}}
    with pytest.raises(ModelError, match=message):
        make_editor().reconstruct(replace(inversion, scheduler=scheduler), force=True)


def test_inversions_that_contradict_themselves_are_refused_when_they_are_used(
    inversion: Inversion, make_editor: MakeEditor
) -> None:
    editor = make_editor()
    with pytest.raises(ModelError, match=r"latents of \d+ x \d+ pixels for images of 64 x 64"):
        editor.reconstruct(replace(inversion, size=(64, 64)))
    with pytest.raises(ModelError, match="2 inverted steps where its settings make 3"):
        editor.reconstruct(replace(inversion, residuals=inversion.residuals[1:]))
    with pytest.raises(ModelError, match="3 inverted steps where its settings make 4"):
        editor.reconstruct(replace(inversion, config=replace(CONFIG, num_steps=4)))


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "junk"},
        {"beta_start": "junk"},
        {"beta_start": 0.0, "beta_end": 0.0},
        {"num_train_timesteps": "junk"},
        {"num_train_timesteps": -1},
        {"trained_betas": "junk"},
        {"prediction_type": "junk"},
        {"timestep_spacing": "junk"},
    ],
)
def test_schedulers_that_make_no_sense_are_refused_when_they_are_used(
    inversion: Inversion, make_editor: MakeEditor, tmp_path: Path, config: dict[str, object]
) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    record["scheduler"]["config"] |= config
    save_file(tensors, tmp_path / "bad", metadata={"renoise.inversion": json.dumps(record)})
    with pytest.raises(RenoiseError):
        make_editor().reconstruct(Inversion.load(tmp_path / "bad"))


def test_numbers_and_nesting_beyond_reason_are_refused(inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    text = json.dumps(record)
    huge = text.replace('"strength": 1.0', f'"strength": 1{"0" * 400}')
    assert huge != text
    for name, metadata in {"huge": huge, "deep": "[" * 100_000}.items():
        save_file(tensors, tmp_path / name, metadata={"renoise.inversion": metadata})
        with pytest.raises(StorageError):
            Inversion.load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("latents", lambda t: t.to(torch.complex64)),
        ("latents", lambda t: t[:0]),
        ("latents", lambda t: t[..., :0, :]),
        ("latents", lambda t: t * torch.nan),
        ("noise", lambda t: t[:1]),
        ("noise", lambda t: t * torch.inf),
        ("residuals", lambda t: t[:, :1]),
        ("trajectory", lambda t: t[1:]),
    ],
)
def test_tensors_that_make_no_sense_are_refused(
    inversion: Inversion, tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, tmp_path / "bad", metadata={"renoise.inversion": json.dumps(record)})
    with pytest.raises(StorageError):
        Inversion.load(tmp_path / "bad")


@pytest.mark.parametrize("missing", ["latents", "residuals"])
def test_missing_tensors_are_refused(inversion: Inversion, tmp_path: Path, missing: str) -> None:
    inversion.save(tmp_path / "good")
    tensors, record = storage.read(tmp_path / "good")
    del tensors[missing]
    save_file(tensors, tmp_path / "bad", metadata={"renoise.inversion": json.dumps(record)})
    with pytest.raises(StorageError):
        Inversion.load(tmp_path / "bad")


def test_a_failed_write_leaves_the_old_file(
    inversion: Inversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "i.safetensors"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        inversion.save(target)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["i.safetensors"]


def test_links_are_followed_and_names_may_be_long(inversion: Inversion, tmp_path: Path) -> None:
    link, target = tmp_path / "link.safetensors", tmp_path / ("n" * 245 + ".safetens")
    link.symlink_to(target)
    inversion.save(link)
    assert link.is_symlink()
    assert torch.equal(Inversion.load(target).latents, inversion.latents)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([link.name, target.name])
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["x" * 5000, "x\0y"])
def test_names_that_no_file_can_have_are_refused(inversion: Inversion, tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError):
        inversion.save(tmp_path / name)
    with pytest.raises(StorageError):
        Inversion.load(tmp_path / name)


def test_unwritable_targets_are_refused(inversion: Inversion, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        inversion.save(tmp_path / "none" / "i.safetensors")
    with pytest.raises(StorageError, match="directory"):
        inversion.save(tmp_path)
