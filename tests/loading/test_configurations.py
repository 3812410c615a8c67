"""What a model's folder says about itself has to make sense, before anything is built or taken memory for."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from renoise import Editor, ModelError, RenoiseError
from renoise.loading.configurations import NETWORKS, SCHEDULERS, require_sensible
from renoise.loading.folders import has_weights
from written import file_of, folder_of

HUGE: list[Any] = [-8, 0, 10**9, -(10**30), "64", [], [10**9], {}, True, math.nan, math.inf]


def with_setting(folder: Path, target: Path, file: str, **settings: Any) -> Path:
    """A copy of a pipeline's folder with other settings in one of its files."""
    shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps({**content, **settings}))
    return target


def refused(name: Any, **options: Any) -> str:
    """The one line with which a model is refused, quickly and without much memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(RenoiseError) as caught:
        Editor.from_pretrained(name, device="cpu", **options)
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "setting"),
    [
        ("sd15", "unet/config.json", "sample_size"),
        ("sd15", "unet/config.json", "in_channels"),
        ("sd15", "unet/config.json", "layers_per_block"),
        ("sd15", "unet/config.json", "cross_attention_dim"),
        ("sd15", "vae/config.json", "latent_channels"),
        ("sd15", "text_encoder/config.json", "num_hidden_layers"),
        ("sd3", "transformer/config.json", "pos_embed_max_size"),
        ("sd3", "text_encoder_3/config.json", "num_layers"),
        ("flux-dev", "transformer/config.json", "num_single_layers"),
        ("kolors", "text_encoder/config.json", "padded_vocab_size"),
        ("kolors", "text_encoder/config.json", "ffn_hidden_size"),
        ("pixart-alpha", "transformer/config.json", "caption_channels"),
        ("hunyuan-dit", "transformer/config.json", "text_len_t5"),
        ("hunyuan-dit", "text_encoder/config.json", "type_vocab_size"),
        ("sd15", "scheduler/scheduler_config.json", "num_train_timesteps"),
    ],
)
def test_absurd_sizes_are_one_line(tiny: Path, tmp_path: Path, name: str, file: str, setting: str) -> None:
    folder = with_setting(folder_of(name, tiny), tmp_path / "model", file)
    content = json.loads((folder / file).read_text())
    for value in HUGE:
        (folder / file).write_text(json.dumps({**content, setting: value}))
        with pytest.raises(ModelError, match=setting):
            require_sensible(folder, [file.partition("/")[0]])
    (folder / file).write_text(json.dumps({**content, setting: 10**9}))
    assert setting in refused(folder)


@pytest.mark.parametrize("value", [0, -1, "0.18215", math.nan, math.inf, [], [0.18], True], ids=repr)
def test_absurd_scales_are_one_line(tiny: Path, tmp_path: Path, value: Any) -> None:
    folder = with_setting(folder_of("sd15", tiny), tmp_path / "model", "vae/config.json", scaling_factor=value)
    assert "vae/config.json: scaling_factor" in refused(folder)


def test_no_scale_is_one_line(tiny: Path, tmp_path: Path) -> None:
    folder = with_setting(folder_of("sd15", tiny), tmp_path / "model", "vae/config.json", scaling_factor=None)
    assert "has no scaling_factor" in refused(folder)
    assert "has no scaling_factor" in refused(file_of("sd15", tiny), config=folder)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("beta_start", 0),
        ("beta_start", math.nan),
        ("beta_end", 2),
        ("beta_end", "0.012"),
        ("trained_betas", [0.1, math.nan]),
        ("trained_betas", [0.1, 5]),
        ("steps_offset", -1),
        ("steps_offset", 10**9),
        ("anything", math.nan),
    ],
)
def test_absurd_noise_levels_are_one_line(tiny: Path, tmp_path: Path, setting: str, value: Any) -> None:
    file = "scheduler/scheduler_config.json"
    assert setting in refused(with_setting(folder_of("sd15", tiny), tmp_path / "model", file, **{setting: value}))


def test_a_network_far_larger_than_its_weights_takes_no_memory(tiny: Path, tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("text_encoder/config.json", {"intermediate_size": 100_000, "hidden_size": 100_000}),
        ("unet/config.json", {"block_out_channels": [65536, 65536]}),
        ("vae/config.json", {"block_out_channels": [65536, 65536, 65536]}),
    ]
    for number, (file, settings) in enumerate(cases):
        folder = with_setting(folder_of("sd15", tiny), tmp_path / f"{number}", file, **settings)
        assert "describes a network of" in refused(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("value", ["evil/kernel", "evil/kernel@main:attention", ["eager"], {"": "evil/kernel"}, 7])
def test_attention_from_elsewhere_is_refused(tiny: Path, tmp_path: Path, key: str, value: Any) -> None:
    for part in ("text_encoder", "unet"):
        file = f"{part}/config.json"
        folder = with_setting(folder_of("sd15", tiny), tmp_path / part, file, **{key: value})
        with pytest.raises(ModelError, match=f"{key} must be one of eager, sdpa"):
            require_sensible(folder, [part])
        nested = with_setting(folder_of("sd15", tiny), tmp_path / f"{part}-2", file, text_config={key: value})
        with pytest.raises(ModelError, match=f"{key} must be one of eager, sdpa"):
            require_sensible(nested, [part])


@pytest.mark.parametrize("value", [-5, 0, 10**9, "77", 1.5])
def test_an_absurd_length_of_prompts_is_one_line(tiny: Path, tmp_path: Path, value: Any) -> None:
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": value}
    file = "tokenizer/tokenizer_config.json"
    assert "model_max_length" in refused(with_setting(folder_of("sd15", tiny), tmp_path / "model", file, **settings))


def test_an_adapter_in_the_place_of_an_encoder_is_not_followed(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    (folder / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    assert "makes another model of the text_encoder" in refused(folder)


def test_a_network_that_cannot_be_built_is_one_line(tiny: Path, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {"block_out_channels": [16]},
        {"down_block_types": ["NoBlock", "DownBlock2D"]},
        {"down_block_types": 7},
        {"norm_num_groups": 7},
    ]
    for number, setting in enumerate(settings):
        folder = with_setting(folder_of("sd15", tiny), tmp_path / f"{number}", "unet/config.json", **setting)
        assert "unet/config.json" in refused(folder)


BAD_FILES = [
    "unet/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
]


@pytest.mark.parametrize("file", BAD_FILES)
def test_files_that_are_no_json_are_one_line(tiny: Path, tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    for content in ("[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "{", "7", "\xff", ""):
        (folder / file).write_text(content, encoding="latin-1")
        refused(folder)
    refused(file_of("sd15", tiny), config=folder)


@pytest.mark.parametrize("file", [*BAD_FILES, "unet/extra.json", "tokenizer/merges.txt", "model_index.json"])
def test_files_that_are_none_are_one_line(tiny: Path, tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    for kind in ("pipe", "huge", "loop", "device"):
        (folder / file).unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(folder / file)
        elif kind == "huge":
            with (folder / file).open("wb") as handle:
                handle.truncate(2**30)
        else:
            (folder / file).symlink_to(folder / file if kind == "loop" else "/dev/zero")
        refused(folder)


@pytest.mark.parametrize(
    "weight_map",
    [
        ["a", "b"],
        7,
        "x",
        None,
        {},
        {"a": 7},
        {"a": ["x"]},
        {"a": None},
        {"a": "../vae/diffusion_pytorch_model.safetensors"},
        {"a": "/etc/passwd"},
        {"a": ".."},
        {"a": ""},
        {"a": "sub/file.safetensors"},
        {"a": "nowhere.safetensors"},
    ],
    ids=json.dumps,
)
def test_an_index_of_weights_names_files_beside_it(tiny: Path, tmp_path: Path, weight_map: Any) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    index = weights.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    if weight_map != {"a": "nowhere.safetensors"}:
        with pytest.raises(ModelError, match=r"weight_map|none beside it"):
            require_sensible(folder, ["unet"])
    weights.unlink()
    assert not has_weights(folder / "unet")
    refused(folder)


def test_a_tokenizer_without_its_configuration_says_so(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    assert "lacks tokenizer/tokenizer_config.json" in refused(folder)
    assert "lacks tokenizer/tokenizer_config.json" in refused(file_of("sd15", tiny), config=folder)


@pytest.mark.parametrize("name", ["sd15", "sd21-v", "lcm", "sdxl", "sdxl-lcm", "sd3", "sd35-dynamic", "flux-dev"])
def test_honest_folders_pass(tiny: Path, name: str) -> None:
    folder = folder_of(name, tiny)
    require_sensible(folder, [part.name for part in folder.iterdir()])


def test_settings_of_real_models_are_in_range() -> None:
    """Values as the published models have them: SD 1.5, SDXL, SSD-1B, SD3.5 large, FLUX.1 dev, T5 XXL, OpenCLIP."""
    real = {
        "block_out_channels": [320, 640, 1280, 1280],
        "transformer_layers_per_block": [0, 2, [4, 4, 10]],
        "cross_attention_dim": 2048,
        "joint_attention_dim": 4096,
        "projection_class_embeddings_input_dim": 2816,
        "pos_embed_max_size": 384,
        "num_layers": 38,
        "num_single_layers": 38,
        "d_ff": 10240,
        "vocab_size": 49408,
        "scaling_factor": 0.13025,
        "shift_factor": 0.0,
        "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
        "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
        "sample_size": [60, 90],
    }
    for setting, value in real.items():
        fits = NETWORKS[setting][1]
        flat = [
            one
            for entry in (value if isinstance(value, list) else [value])
            for one in ([entry] if not isinstance(entry, list) else entry)
        ]
        assert all(fits(one) for one in flat), setting
    schedule = {"num_train_timesteps": 1000, "beta_end": 0.012, "shift": 3.0, "sigma_max": 80.0, "base_shift": 0.5}
    assert all(SCHEDULERS[setting][1](value) for setting, value in schedule.items())


# Settings of published models with the values that stretch the ranges: lists in lists, null, infinity and zeros.
UNET = {"sample_size": 96, "attention_head_dim": [5, 10, 20, 20], "num_attention_heads": None, "mid_block_type": None}
PUBLISHED: list[tuple[str, str, dict[str, Any]]] = [
    ("unet", "config.json", {**UNET, "downsample_padding": 1, "time_cond_proj_dim": None, "upcast_attention": None}),
    (
        "unet",
        "config.json",
        {
            "transformer_layers_per_block": [[0, 0], [2, 2], [4, 4]],
            "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
            "projection_class_embeddings_input_dim": 2816,
            "addition_time_embed_dim": 256,
        },
    ),
    ("vae", "config.json", {"latent_channels": 4, "block_out_channels": [128, 256, 512, 512]}),  # no scale in old ones
    (
        "vae",
        "config.json",
        {
            "latent_channels": 4,
            "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
            "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
            "scaling_factor": 0.5,
            "shift_factor": None,
        },
    ),
    ("vae", "config.json", {"latent_channels": 4, "scaling_factor": 1.0, "shift_factor": 0.0, "latents_mean": None}),
    ("transformer", "config.json", {"num_attention_heads": 38, "pos_embed_max_size": 384, "out_channels": None}),
    ("transformer", "config.json", {"in_channels": 64, "axes_dims_rope": [16, 56, 56], "patch_size": 1}),
    ("text_encoder", "config.json", {"d_ff": 10240, "num_heads": 64, "num_decoder_layers": 24, "vocab_size": 32128}),
    (
        "safety_checker",
        "config.json",
        {"text_config": {"bad_words_ids": None, "hidden_size": 768}, "projection_dim": 768},
    ),
    ("scheduler", "scheduler_config.json", {"lambda_min_clipped": -math.inf, "trained_betas": None, "sigma_max": None}),
    ("scheduler", "scheduler_config.json", {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "sigma_data": 0.5}),
    ("scheduler", "scheduler_config.json", {"base_shift": 0.5, "max_image_seq_len": 4096, "shift_terminal": None}),
    ("tokenizer", "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}),
    ("tokenizer", "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "model_max_length": 10**30}),
]


@pytest.mark.parametrize(("part", "file", "settings"), PUBLISHED)
def test_configurations_of_published_models_pass(
    tmp_path: Path, part: str, file: str, settings: dict[str, Any]
) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / part / file).write_text(json.dumps(settings))
    require_sensible(tmp_path, [part])


@pytest.mark.parametrize("value", [[1.0], [1.0] * 5, 1.0])
@pytest.mark.parametrize("setting", ["latents_mean", "latents_std"])
def test_statistics_of_another_number_of_channels_are_one_line(tmp_path: Path, setting: str, value: Any) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"latent_channels": 4, setting: value}))
    with pytest.raises(ModelError, match=f"{setting} must be a list of 4 numbers"):
        require_sensible(tmp_path, ["vae"])


def test_absurd_padding_takes_no_memory(tiny: Path, tmp_path: Path) -> None:
    folder = with_setting(folder_of("sd15", tiny), tmp_path / "model", "unet/config.json", downsample_padding=10**8)
    assert "downsample_padding must be" in refused(folder)


def test_files_that_nobody_reads_may_lie_beside_the_others(tiny: Path, tmp_path: Path) -> None:
    """What file managers, editors and caches leave in a folder."""
    folder = tmp_path / "model"
    shutil.copytree(folder_of("sd15", tiny), folder)
    for name, content in {
        "._config.json": b"\0\1",
        ".DS_Store": b"\0",
        "notes.json": b"3",
        "config.json~": b"{",
    }.items():
        for part in ("unet", "tokenizer", "scheduler"):
            (folder / part / name).write_bytes(content)
    (folder / "unet" / "diffusion_pytorch_model.bin").symlink_to("gone")
    assert Editor.from_pretrained(folder, device="cpu").pipe.unet is not None
