"""Models are found by name and loaded with a scheduler that can be inverted."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from renoise import ConfigError, Editor, InversionConfig, ModelError, Renoising, SchedulerError
from renoise.backbones import families_by_name
from renoise.errors import RenoiseWarning
from renoise.fingerprint import fingerprint
from renoise.loading.pipelines import resolve_dtype
from written import built, folder_of


def test_a_directory_in_hub_layout(data: Path) -> None:
    editor = Editor.from_pretrained(str(data / "tiny-sd"), device="cpu")
    assert editor.pipe.unet.dtype == torch.float32
    assert (
        Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype=torch.bfloat16).pipe.unet.dtype == torch.bfloat16
    )


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_the_older_name_of_dtype_is_taken(data: Path, dtype: Any, recwarn: pytest.WarningsRecorder) -> None:
    editor = Editor.from_pretrained(data / "tiny-sd", device="cpu", torch_dtype=dtype)
    assert editor.pipe.unet.dtype == torch.bfloat16
    assert not [one for one in recwarn if isinstance(one.message, RenoiseWarning)]
    with pytest.raises(ConfigError, match="both given"):
        Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype=torch.float32, torch_dtype=dtype)


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


def test_a_directory_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model_index\.json"):
        Editor.from_pretrained(tmp_path, device="cpu")


def test_a_damaged_pipeline_is_one_line(data: Path, tmp_path: Path) -> None:
    model = shutil.copytree(data / "tiny-sd", tmp_path / "model")
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        Editor.from_pretrained(model, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_safetensors_file_of_something_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="of no known layout; give a checkpoint of Stable Diffusion"):
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


@pytest.mark.parametrize(
    ("device", "name", "expected"),
    [
        ("cpu", "flux", torch.float32),
        ("cuda", "sd", torch.float16),
        ("cuda", None, torch.float16),
        ("cuda", "sd3", torch.bfloat16),
        ("mps", "flux", torch.bfloat16),
    ],
)
def test_the_precision_suits_the_device_and_the_family(device: str, name: str | None, expected: torch.dtype) -> None:
    family = None if name is None else families_by_name()[name]
    assert resolve_dtype(None, torch.device(device), family) == expected
    assert resolve_dtype("float16", torch.device(device), family) == torch.float16


@pytest.mark.parametrize(
    ("name", "sampler", "cls"),
    [
        ("sd15", "ddim", "DDIMScheduler"),
        ("sd15", "ddpm", "DDPMScheduler"),
        ("sd15", "euler", "EulerDiscreteScheduler"),
        ("sdxl", "euler-ancestral", "EulerAncestralDiscreteScheduler"),
        ("sdxl", "lcm", "LCMScheduler"),
        ("sd21-v", "tcd", "TCDScheduler"),
        ("sd3", "flow-euler", "FlowMatchEulerDiscreteScheduler"),
        ("sd15", "LCMScheduler", "LCMScheduler"),
    ],
)
def test_a_sampler_takes_the_models_noise_levels(tiny: Path, name: str, sampler: str, cls: str) -> None:
    pipe = Editor.from_pretrained(folder_of(name, tiny), device="cpu", sampler=sampler).pipe
    own = built(name).scheduler.config
    assert type(pipe.scheduler).__name__ == cls
    for setting in ("beta_start", "beta_schedule", "prediction_type", "shift"):
        assert pipe.scheduler.config.get(setting) == own.get(setting)


@pytest.mark.parametrize("sampler", ["dpm++", "", "DPMSolverMultistepScheduler", "DDIM", 3])
def test_an_unknown_sampler_is_refused_before_the_model_is_loaded(sampler: Any) -> None:
    with pytest.raises(SchedulerError, match="is unknown; use one of ddim, ddpm, euler"):
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", sampler=sampler)


@pytest.mark.parametrize(("name", "sampler"), [("flux-dev", "ddim"), ("sd3", "lcm"), ("sdxl", "flow-euler")])
def test_a_sampler_for_another_kind_of_model_is_refused(tiny: Path, name: str, sampler: str) -> None:
    with pytest.raises(SchedulerError, match="two kinds of models"):
        Editor.from_pretrained(folder_of(name, tiny), device="cpu", sampler=sampler)


@pytest.mark.slow
def test_a_network_is_compiled_in_place_and_stays_the_same_model(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This backend runs what it is given as it is: no compiler has to be there, and none takes its time.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = (
        Editor.from_pretrained(data / "tiny-sd", device="cpu", dtype="float32", compile=wanted)
        for wanted in (False, True)
    )
    assert compiled.pipe.unet._compiled_call_impl is not None
    assert plain.pipe.unet._compiled_call_impl is None
    assert list(compiled.pipe.unet.state_dict()) == list(plain.pipe.unet.state_dict())
    assert fingerprint(compiled.pipe) == fingerprint(plain.pipe)
    config = InversionConfig(num_steps=2, renoising=Renoising(1))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    inversion = compiled.invert(latents=latents, prompt="a cat", config=config)
    expected = plain.invert(latents=latents, prompt="a cat", config=config)
    torch.testing.assert_close(inversion.latents, expected.latents, rtol=1e-4, atol=1e-4)
    # An inversion of the one is an inversion of the other.
    drawn = plain.reconstruct(inversion, "latent")
    torch.testing.assert_close(compiled.reconstruct(expected, "latent"), drawn, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_network_alone_is_compiled_if_asked_for(data: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(network))
    editor = Editor.from_pretrained(data / "tiny-sd", device="cpu", compile=wanted)
    assert compiled == ([editor.pipe.unet] if wanted else [])


def test_compiling_is_a_question_of_yes_or_no(data: Path) -> None:
    with pytest.raises(ConfigError, match="compile must be True or False"):
        Editor.from_pretrained(data / "tiny-sd", device="cpu", compile="inductor")
