"""Finding models by name, and saying what to do when there is none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from renoise import ConfigError, Editor, ModelError


def test_a_directory_in_hub_layout(data: Path) -> None:
    editor = Editor.from_pretrained(str(data / "tiny-sd"), device="cpu")
    assert editor.pipe.unet.dtype == torch.float32
    assert (
        Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype=torch.bfloat16).pipe.unet.dtype == torch.bfloat16
    )


def test_a_scheduler_that_cannot_be_inverted_is_exchanged(data: Path, tmp_path: Path) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    index = model / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "PNDMScheduler"))
    editor = Editor.from_pretrained(model, device="cpu")
    assert type(editor.pipe.scheduler).__name__ == "DDIMScheduler"
    assert editor.pipe.scheduler.config.beta_end == 0.012
    assert editor.pipe.scheduler.config.clip_sample is False


@pytest.mark.parametrize(
    "name", ["nonsense", "no/such/folder/here", "./nowhere", "/nowhere/at/all", "", "x" * 5000, "~nobody-here/x"]
)
def test_unknown_names_are_refused_without_asking_the_network(name: str) -> None:
    with pytest.raises(ModelError, match="not known"):
        Editor.from_pretrained(name, device="cpu")


@pytest.mark.parametrize("name", [None, b"mini", 7])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ModelError, match="named by a string"):
        Editor.from_pretrained(name)


def test_clipping_is_switched_off(data: Path, tmp_path: Path) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    index, config = model / "model_index.json", model / "scheduler" / "scheduler_config.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "DDPMScheduler"))
    config.write_text(config.read_text().replace('"clip_sample": false', '"clip_sample": true'))
    editor = Editor.from_pretrained(model, device="cpu")
    assert type(editor.pipe.scheduler).__name__ == "DDPMScheduler"
    assert editor.pipe.scheduler.config.clip_sample is False


def test_a_pipeline_of_another_kind_is_refused(data: Path, tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    from diffusers import DDPMScheduler

    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="DDPMPipeline is not supported"):
        Editor.from_pretrained(tmp_path / "model", device="cpu")


def test_a_hub_name_out_of_reach_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"model hub or its cache.*or use the bundled model: mini"):
        Editor.from_pretrained("renoise-tests/no-such-model", device="cpu", local_files_only=True)


def test_a_directory_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model_index\.json"):
        Editor.from_pretrained(tmp_path, device="cpu")


def test_a_damaged_pipeline_is_one_line(data: Path, tmp_path: Path) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        Editor.from_pretrained(model, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.ckpt", b"pickle", "not a .safetensors"),
        ("model.safetensors", b"garbage", "not a readable safetensors"),
    ],
)
def test_single_files_that_are_no_checkpoints(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Editor.from_pretrained(tmp_path / name, device="cpu")


def test_a_safetensors_file_of_something_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="not a Stable Diffusion or SDXL checkpoint"):
        Editor.from_pretrained(tmp_path / "x.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device 'gpu'"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"device": []}, "device"),
        ({"device": "meta"}, "device 'meta'"),
        ({"device": "cpu", "dtype": "float8"}, "dtype 'float8'"),
        ({"device": "cpu", "dtype": torch.int64}, "dtype"),
    ],
)
def test_unknown_devices_and_dtypes(data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Editor.from_pretrained(data / "tiny-sd", **options)


def test_the_bundled_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "renoise_mini", None)
    with pytest.raises(ModelError, match=r"pip install 'renoise\[mini\]'"):
        Editor.from_pretrained("mini", device="cpu")


def test_a_package_of_models_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import renoise_mini

    def path(name: str = "mini") -> Path:
        raise ValueError(f"no resource {name}")

    monkeypatch.setattr(renoise_mini, "path", path)
    for name in ("mini-turbo", "mini-lcm"):
        with pytest.raises(ModelError, match="update it"):
            Editor.from_pretrained(name, device="cpu")


def test_a_lora_that_is_not_there_is_not_looked_for_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    import renoise_mini

    folders = {"mini": data / "tiny-sd", "mini-lcm": tmp_path}
    monkeypatch.setattr(renoise_mini, "path", lambda name: folders[name])
    with pytest.raises(ModelError, match=r"no pytorch_lora_weights.safetensors"):
        Editor.from_pretrained("mini-lcm", device="cpu")
