"""Finding models by name, and saying what to do when there is none."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import save_file

from renoise import ConfigError, Editor, ModelError
from renoise.loading import hub
from renoise.loading.pipelines import resolve_dtype
from written import folder_of, in_cache


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny pipelines are written."""
    return tmp_path_factory.mktemp("tiny")


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


def test_a_name_without_its_owner_is_asked_about() -> None:
    with pytest.raises(ModelError, match=r"did you mean stabilityai/sdxl-turbo\?"):
        Editor.from_pretrained("SDXL-turbo", device="cpu")


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
    with pytest.raises(ModelError, match=r"not in the cache.*hf download renoise-tests/no-such-model.*use .* mini"):
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
        (
            "model.ckpt",
            b"pickle",
            r"not a .safetensors checkpoint but a pickle, which can run code .*weights_only=True",
        ),
        ("model.GGUF", b"GGUF", "quantised GGUF"),
        ("model.zip", b"PK", "not a .safetensors"),
        ("model.safetensors", b"garbage", "not a readable safetensors"),
    ],
)
def test_single_files_that_are_no_checkpoints(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Editor.from_pretrained(tmp_path / name, device="cpu")


def test_a_safetensors_file_of_something_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="of no kind that is known here; expected a checkpoint of Stable Diffusion"):
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


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "lacks unet weights"),
        ("vae/config.json", "lacks vae/config.json"),
        ("scheduler/scheduler_config.json", "lacks scheduler/scheduler_config.json"),
        # diffusers loads a tokenizer without its files, and every word is unknown to it.
        ("tokenizer/vocab.json", "lacks tokenizer/tokenizer.json"),
    ],
)
def test_a_folder_with_a_file_missing_names_it(data: Path, tmp_path: Path, gone: str, words: str) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    (model / gone).unlink()
    with pytest.raises(ModelError, match=words) as caught:
        Editor.from_pretrained(model, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_part_that_is_given_is_not_missed(data: Path, tmp_path: Path, editor: Editor) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    shutil.rmtree(model / "unet")
    assert Editor.from_pretrained(model, device="cpu", unet=editor.pipe.unet).pipe.unet is editor.pipe.unet


def test_a_safety_checker_that_was_not_downloaded_is_done_without(data: Path, tmp_path: Path) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    index = model / "model_index.json"
    content = json.loads(index.read_text())
    content["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    content["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index.write_text(json.dumps(content))
    assert Editor.from_pretrained(model, device="cpu").pipe.safety_checker is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_of_one_variant_alone_are_loaded(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: torch.dtype
) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    for path in model.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    with caplog.at_level(logging.INFO, "renoise"):
        editor = Editor.from_pretrained(model, device="cpu", dtype=dtype)
    assert editor.dtype == dtype
    assert "as the variant fp16" in caplog.text
    with pytest.raises(ModelError, match="lacks"):
        Editor.from_pretrained(model, device="cpu", variant="bf16")


def test_a_pipeline_without_its_third_encoder_loads_without_being_told(tiny: Path) -> None:
    assert Editor.from_pretrained(folder_of("sd3-no-t5", tiny), device="cpu").pipe.text_encoder_3 is None


def refusal(kind: str) -> Exception:
    """An error of the hub's client, as it makes them."""
    if kind == "offline":
        return errors.OfflineModeIsEnabled("offline mode is enabled")
    if kind == "not cached":
        return errors.LocalEntryNotFoundError("not found on disk")
    if kind == "no network":
        return ConnectionError("[Errno -2] Name or service not known")
    if kind == "timeout":
        return TimeoutError("timed out")
    made = {
        "gated": (errors.GatedRepoError, 403),
        "absent": (errors.RepositoryNotFoundError, 404),
        "no revision": (errors.RevisionNotFoundError, 404),
        "no index": (errors.RemoteEntryNotFoundError, 404),
        "unauthorised": (errors.HfHubHTTPError, 401),
        "broken": (errors.HfHubHTTPError, 503),
    }
    cls, status = made[kind]
    response: Any = SimpleNamespace(headers={}, request=None, status_code=status)
    error: Exception = cls("over\nseveral lines", response=response)
    return error


REFUSALS = {
    "offline": r"was not asked for .*HF_HUB_OFFLINE is set.* not in the cache.*hf download me/model --local-dir DIR",
    "not cached": r"cannot be reached .* not in the cache.*hf download me/model --local-dir DIR",
    "no network": r"cannot be reached .* not in the cache.*use the bundled model: mini",
    "timeout": r"cannot be reached .* not in the cache.*use the bundled model: mini",
    "gated": r"is gated: accept its licence on https://huggingface.co/me/model, then log in with: hf auth login",
    "absent": r"has no model 'me/model', or it is private.*check the name.*hf auth login",
    "no revision": r"no such revision",
    "no index": r"no model_index.json: it is not a diffusers pipeline.*--lora",
    "unauthorised": r"refuses model 'me/model' \(401\).*hf auth login",
    "broken": r"answers 503 .*try again later",
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("asking", [True, False])
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: str, asking: bool
) -> None:
    """Whether it refuses when it is asked, or only when the files are wanted."""
    import huggingface_hub
    from diffusers import DiffusionPipeline

    def ask(*args: Any, **options: Any) -> Any:
        if asking:
            raise refusal(kind)
        return SimpleNamespace(siblings=[])

    def download(*args: Any, **options: Any) -> Any:
        raise OSError("not cached") if asking else refusal(kind)

    monkeypatch.setattr(huggingface_hub, "model_info", ask)
    monkeypatch.setattr(DiffusionPipeline, "download", download)
    with pytest.raises(ModelError, match=REFUSALS[kind]) as caught:
        Editor.from_pretrained("me/model", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached."""

    def ask(*args: Any, **options: Any) -> Any:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.model_info", ask)


@pytest.mark.usefixtures("no_hub")
def test_a_cached_model_needs_no_hub(data: Path, tmp_path: Path) -> None:
    in_cache(data / "tiny-sd", tmp_path)
    assert Editor.from_pretrained("me/model", device="cpu", cache_dir=tmp_path).name == "me/model"


@pytest.mark.usefixtures("no_hub")
def test_one_cached_as_a_variant_is_found(data: Path, tmp_path: Path) -> None:
    snapshot = in_cache(data / "tiny-sd", tmp_path)
    for path in snapshot.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    editor = Editor.from_pretrained("me/model", device="cpu", dtype="float16", cache_dir=tmp_path)
    assert editor.dtype == torch.float16


@pytest.mark.usefixtures("no_hub")
def test_one_cached_in_part_names_what_is_missing(data: Path, tmp_path: Path) -> None:
    (in_cache(data / "tiny-sd", tmp_path) / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="unet weights"):
        Editor.from_pretrained("me/model", device="cpu", cache_dir=tmp_path)


LOADS = """
import sys, time
from renoise import Editor, ModelError
from diffusers import DiffusionPipeline
started = time.perf_counter()
try:
    Editor.from_pretrained("me/model", device="cpu")
except ModelError as error:
    print(f"{time.perf_counter() - started:.1f} {error}")
"""


@pytest.mark.parametrize("way", ["offline", "silent"])
def test_a_hub_out_of_reach_is_told_within_seconds(tmp_path: Path, way: str) -> None:
    """Offline mode, and a hub that takes the call and never answers: its client would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = {"HF_HUB_OFFLINE": "1"} if way == "offline" else {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": place}
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_ETAG_TIMEOUT": "1", **settings}
        done = subprocess.run(
            [sys.executable, "-c", LOADS], capture_output=True, text=True, env=environment, timeout=60
        )
    seconds, _, message = done.stdout.partition(" ")
    assert float(seconds) < 5, done.stderr
    assert ("HF_HUB_OFFLINE is set" if way == "offline" else "cannot be reached") in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("latent-consistency/lcm-lora-sdxl", "--model stabilityai/stable-diffusion-xl-base-1.0 --lora latent-con"),
        ("latent-consistency/lcm-sdxl", "renoise models latent-consistency/lcm-sdxl"),
    ],
)
def test_what_the_catalogue_knows_to_be_no_pipeline_is_refused_unasked(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(hub, "ask", lambda *args: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match=words):
        Editor.from_pretrained(name, device="cpu")


@pytest.mark.parametrize(
    ("device", "family", "expected"),
    [
        ("cpu", "flux", torch.float32),
        ("cuda", "sd", torch.float16),
        ("cuda", None, torch.float16),
        ("cuda", "sd3", torch.bfloat16),
        ("mps", "flux", torch.bfloat16),
    ],
)
def test_the_precision_suits_the_device_and_the_family(device: str, family: str | None, expected: torch.dtype) -> None:
    assert resolve_dtype(None, torch.device(device), family) == expected
    assert resolve_dtype("float16", torch.device(device), family) == torch.float16
