"""Inversions on disk: whole, portable, and refused when they are not what they should be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from renoise import Editor, Inversion, InversionConfig, ModelError, RenoiseError, Renoising, StorageError, storage

CONFIG = InversionConfig(num_steps=3, renoising=Renoising(2, weights=(0.0, 1.0, 1.0)), renoising_low_noise=Renoising(1))
MakeEditor = Callable[..., Editor]


@pytest.fixture
def inversion(make_editor: MakeEditor, picture: Image.Image) -> Inversion:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    return editor.invert([picture, picture], ["a lion", "a cat"], config=CONFIG, keep_trajectory=True)


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
