"""`renoise models`: what it lists fits a terminal, is what there is, and the lines that it shows can be run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import Editor, ModelError
from renoise.backbones import FAMILIES
from renoise.cli import models as listing
from renoise.config import VARIANTS
from renoise.loading import catalogue
from renoise.loading.catalogue import MODELS, PRESET_SAMPLERS
from renoise.loading.downloads import Cache
from renoise.named_presets import NAMED
from renoise.schedulers import SAMPLERS

TINY = Path(__file__).parents[1] / "data" / "tiny-sd"
Renoise = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_model")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache: SDXL Turbo half downloaded, and a pipeline of one's own."""
    folder = tmp_path_factory.mktemp("hub")
    for name in ("stabilityai/sdxl-turbo", "me/tuned"):
        repository = folder / f"models--{name.replace('/', '--')}"
        shutil.copytree(TINY, repository / "snapshots" / ("a" * 40))
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("a" * 40)
    (folder / "models--stabilityai--sdxl-turbo" / "snapshots" / ("a" * 40) / "vae" / "config.json").unlink()
    monkeypatch.setattr(listing, "Cache", lambda: Cache(folder))
    return folder


def test_the_list_names_all_there_is_in_eighty_columns(renoise: Renoise) -> None:
    done = renoise("models")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    for entry in MODELS:
        assert f"\n{entry.name} " in f"\n{done.out}"
        assert entry.licence is None or entry.licence in done.out
    for name in (*PRESET_SAMPLERS, *NAMED, *VARIANTS, *SAMPLERS, *FAMILIES):
        assert name in done.out


def test_the_list_says_what_is_here(renoise: Renoise) -> None:
    lines = renoise("models").out.splitlines()
    ends = {line.split()[0]: line.split()[-1] for line in lines if line and not line.startswith(" ")}
    assert (ends["mini"], ends["mini-lcm"], ends["stabilityai/sd-turbo"]) == ("yes", "yes", "no")
    assert ends["stabilityai/sdxl-turbo"] == "partly"
    assert "me/tuned: sd (StableDiffusionPipeline)" in lines


def test_a_damaged_model_is_a_row_of_its_own(renoise: Renoise, cache: Path) -> None:
    (cache / "models--me--tuned" / "snapshots" / ("a" * 40) / "model_index.json").write_text("[" * 100_000)
    (cache / "models--stabilityai--sdxl-turbo" / "refs" / "main").write_bytes(b"\xff\x1b[31m")
    done = renoise("models")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert any(line.startswith("me/tuned: damaged: ") for line in lines)
    ends = {line.split()[0]: line.split()[-1] for line in lines if line and not line.startswith(" ")}
    assert (ends["stabilityai/sdxl-turbo"], ends["mini"]) == ("damaged", "yes")
    document = renoise("models", "--json").json
    assert document["others"][0]["here"] == "damaged"
    for name in ("me/tuned", "stabilityai/sdxl-turbo"):
        told = renoise("models", name)
        assert told.code == 0
        assert "damaged:" in told.out
        assert "\x1b" not in told.out


def test_the_document_holds_it_all(renoise: Renoise, cache: Path) -> None:
    document = renoise("models", "--json").json
    models = {model["name"]: model for model in document["models"]}
    assert document["cache"] == str(cache)
    assert list(models) == [entry.name for entry in MODELS]
    turbo = models["stabilityai/sdxl-turbo"]
    assert (turbo["here"], turbo["missing"], turbo["steps"]) == ("partly", ["vae/config.json"], 4)
    assert turbo["weights"]["gigabytes"]["float32"] == 2 * turbo["weights"]["gigabytes"]["float16"]
    assert document["others"][0]["name"] == "me/tuned"
    assert document["presets"]["sdxl-turbo"]["renoising"]["iterations"] == 9
    assert document["samplers"] == dict(SAMPLERS)
    assert document["named_presets"]["dmd2-4"]["timesteps"] == [999, 749, 499, 249]


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_one_model_is_told_whole(renoise: Renoise, entry: Any) -> None:
    done = renoise("models", entry.name)
    assert done.code == 0
    assert done.out.splitlines()[0] == entry.name
    assert (entry.licence or "see its card") in done.out
    assert f"{entry.named or entry.preset}, {entry.num_steps} steps" in done.out
    assert "weights" in done.out.replace("\n", " ")
    assert entry.page is None or entry.page in done.out
    base = None if entry.base is None else catalogue.find(entry.base)
    gated = [one.page for one in (entry, base) if one is not None and one.gated]
    assert ("hf auth login" in done.out) == bool(gated)
    assert all(page in done.out for page in gated)
    assert (f"hf download {entry.name}" in done.out) == (not entry.bundled)
    assert renoise("models", entry.name, "--json").json["model"]["name"] == entry.name


@pytest.mark.parametrize("entry", [e for e in MODELS if e.holds != "network"], ids=lambda entry: entry.name)
def test_the_line_to_run_is_understood(renoise: Renoise, monkeypatch: pytest.MonkeyPatch, entry: Any) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **options: Any) -> None:
        asked.append((name, options))
        raise ModelError("as far as it goes")

    monkeypatch.setattr(Editor, "from_pretrained", load)
    Image.new("RGB", (8, 8)).save("in.jpg")
    line = renoise("models", entry.name).out.splitlines()[-1]
    done = renoise(*shlex.split(line)[1:])
    assert (done.code, done.error) == (1, "as far as it goes")
    ((name, options),) = asked
    base = entry.name if entry.base is None or entry.bundled else entry.base
    assert name == base
    strength = None if entry.named is None else NAMED[entry.named].strength
    lora = f"{entry.file or entry.name}" + ("" if strength is None else f":{strength:g}")
    assert options["lora"] == ([lora] if name != entry.name else None)
    assert options["preset"] == entry.named
    assert options["sampler"] == (entry.sampler if entry.named is None else None)
    if entry.file is not None:  # what the line loads is what the line before it downloads
        assert renoise("models", entry.name).out.splitlines()[-2].split()[:4] == [
            "hf",
            "download",
            entry.name,
            entry.file,
        ]
    assert options["dtype"] == ("bfloat16" if entry.dtype == "bfloat16" else None)


def test_a_lone_network_is_shown_in_python(renoise: Renoise) -> None:
    lines = renoise("models", "lcm-sdxl").out.splitlines()
    python = lines[lines.index("# in Python:") :]
    compile("\n".join(python), "shown", "exec")
    assert 'sampler="lcm"' in python[-1]


def test_a_model_of_ones_own_is_told_by_what_it_is(renoise: Renoise) -> None:
    assert "StableDiffusionPipeline" in renoise("models", "tuned").out
    assert renoise("models", "me/tuned", "--json").json["model"]["family"] == "sd"


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_an_unknown_name_is_one_line(renoise: Renoise, json_too: list[str]) -> None:
    done = renoise("models", "sdxl-trubo", *json_too)
    assert done.code == 1
    assert "did you mean stabilityai/sdxl-turbo" in done.error
    assert renoise("models", "zzz", *json_too).error.endswith("in the catalogue; run renoise models for the list")


@pytest.mark.parametrize("arguments", [["a", "b"], ["--model", "mini"]])
def test_wrong_usage(renoise: Renoise, arguments: list[str]) -> None:
    assert renoise("models", *arguments).code == 2


def test_it_answers_quickly_without_torch_and_honours_the_caches_place(cache: Path) -> None:
    code = "import sys; from renoise.cli.entry import run; code = run(['models', '--json']); "
    code += "sys.exit(code or 'torch' in sys.modules)"
    started = time.perf_counter()
    environment = {**os.environ, "HF_HUB_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert time.perf_counter() - started < 3
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cache"] == str(cache)
