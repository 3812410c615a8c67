"""What the hub refuses, or does not answer, is one line that says what to do; and the cache is enough."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import errors

from renoise import Editor, ModelError
from renoise.loading import hub
from written import folder_of, in_cache


def refusal(cause: str) -> Exception:
    """An error of the hub's client, as it makes them."""
    if cause == "offline":
        return errors.OfflineModeIsEnabled("offline mode is enabled")
    if cause == "not cached":
        return errors.LocalEntryNotFoundError("not found on disk")
    if cause == "no network":
        return ConnectionError("[Errno -2] Name or service not known")
    if cause == "timeout":
        return TimeoutError("timed out")
    made = {
        "gated": (errors.GatedRepoError, 403),
        "absent": (errors.RepositoryNotFoundError, 404),
        "no revision": (errors.RevisionNotFoundError, 404),
        "no index": (errors.RemoteEntryNotFoundError, 404),
        "unauthorised": (errors.HfHubHTTPError, 401),
        "broken": (errors.HfHubHTTPError, 503),
    }
    cls, status = made[cause]
    response: Any = SimpleNamespace(headers={}, request=None, status_code=status)
    error: Exception = cls("over\nseveral lines", response=response)
    return error


REFUSALS = {
    "offline": r"was not asked for .*HF_HUB_OFFLINE is set.* not in the cache.*hf download me/model --local-dir DIR",
    "not cached": r"cannot be reached .* not in the cache.*hf download me/model --local-dir DIR",
    "no network": r"cannot be reached .* not in the cache.*use the bundled model: mini",
    "timeout": r"cannot be reached .* not in the cache.*use the bundled model: mini",
    "gated": r"is gated; accept its licence on https://huggingface.co/me/model, then log in with: hf auth login",
    "absent": r"has no model 'me/model', or it is private.*check the name.*hf auth login",
    "no revision": r"no such revision",
    "no index": r"no model_index.json, so that it is not a diffusers pipeline; .*lora=\"me/model\"",
    "unauthorised": r"refuses model 'me/model' \(401\).*hf auth login",
    "broken": r"answers 503 .*try again later",
}


@pytest.mark.parametrize("cause", REFUSALS)
@pytest.mark.parametrize("asking", [True, False])
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, cause: str, asking: bool
) -> None:
    """Whether it refuses when it is asked, or only when the files are wanted."""
    import huggingface_hub
    from diffusers import DiffusionPipeline

    def ask(*args: Any, **options: Any) -> Any:
        if asking:
            raise refusal(cause)
        return SimpleNamespace(siblings=[])

    def download(*args: Any, **options: Any) -> Any:
        raise OSError("not cached") if asking else refusal(cause)

    monkeypatch.setattr(huggingface_hub, "model_info", ask)
    monkeypatch.setattr(DiffusionPipeline, "download", download)
    with pytest.raises(ModelError, match=REFUSALS[cause]) as caught:
        Editor.from_pretrained("me/model", device="cpu")
    assert "\n" not in str(caught.value)


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


@pytest.mark.slow
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
        ("latent-consistency/lcm-lora-sdxl", 'model="stabilityai/stable-diffusion-xl-base-1.0" with lora="latent-con'),
        (
            "latent-consistency/lcm-sdxl",
            "unet=... to Editor.from_pretrained.'stabilityai/stable-diffusion-xl-base-1.0'",
        ),
    ],
)
def test_what_the_catalogue_knows_to_be_no_pipeline_is_refused_unasked(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(hub, "ask", lambda *args: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match=words):
        Editor.from_pretrained(name, device="cpu")


def test_a_hub_name_out_of_reach_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"not in the cache.*hf download renoise-tests/no-such-model.*use .* mini"):
        Editor.from_pretrained("renoise-tests/no-such-model", device="cpu", local_files_only=True)


@pytest.mark.parametrize("family", ["sdxl", "kolors", "z-image", "flux2-klein", "lumina2", "qwen-image"])
def test_the_lines_to_download_a_model_take_every_file_of_it(tiny: Path, family: str) -> None:
    folder = folder_of(family, tiny)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    left = {file for file in files if not any(fnmatch(file, one) for one in (*hub.CONFIGURATION, "*/*.safetensors"))}
    assert left <= {"README.md"}
