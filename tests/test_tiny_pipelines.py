"""The tiny pipelines: every input of each tells, and their folders, files and adapters load as the real ones do."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tiny_pipelines import (  # type: ignore[import-not-found, unused-ignore]
    BUILDERS,
    image_encoder,
    ip_adapter,
    lora,
    own_size,
    single_file,
)
from tiny_pipelines.__main__ import main  # type: ignore[import-not-found, unused-ignore]

# Relative; transformers with the weights that diffusers starts them with do not reach it.
CLEARLY = 1e-2
SIZE = {"height": 64, "width": 64}
PROMPTS = ("a cat on a mat", "a dog")

SD = {"encoder_hidden_states"}
SDXL = {*SD, "text_embeds", "time_ids"}
SD3 = {*SD, "pooled_projections"}
PIXART = {*SD, "encoder_attention_mask"}
HUNYUAN = {*SD, "text_embedding_mask", "encoder_hidden_states_t5", "text_embedding_mask_t5"}
# What the network is told beside the latent and the timestep.
CONDITIONS = {
    "sd15": SD,
    "sd15-ddim": SD,
    "sd21-v": SD,
    "sd21-zsnr": SD,
    "sd-turbo": SD,
    "lcm": {*SD, "timestep_cond"},
    "sdxl": SDXL,
    "sdxl-turbo": SDXL,
    "sdxl-lcm": {*SDXL, "timestep_cond"},
    "sd3": SD3,
    "sd3-no-t5": SD3,
    "sd35": SD3,
    "sd35-dynamic": SD3,
    "flux-dev": {*SD3, "guidance"},
    "flux-schnell": SD3,
    "kolors": SDXL,
    "pixart-alpha": PIXART,
    "pixart-alpha-ddim": PIXART,
    "pixart-sigma-ddim": PIXART,
    "pixart-lcm": PIXART,
    "hunyuan-dit": HUNYUAN,
    "hunyuan-dit-1.1": {*HUNYUAN, "image_meta_size"},
}
# What a network is told in one argument of several entries.
ADDED = ("text_embeds", "time_ids", "resolution", "aspect_ratio")
# Those that are told of the size of the image that an image was cut from.
CROPPED = ("sdxl", "sdxl-turbo", "sdxl-lcm", "kolors")
# Those whose guidance is a second prediction, and how they are asked for one.
GUIDED: dict[str, dict[str, Any]] = {
    name: {"guidance_scale": 5.0} for name in CONDITIONS if not name.startswith(("flux", "lcm", "sdxl-lcm"))
}
GUIDED |= {name: {"true_cfg_scale": 5.0} for name in ("flux-dev", "flux-schnell")}

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
STABLE = {**BETAS, "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}
DYNAMIC = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096, "shift": 3.0}
TRAILING = {"timestep_spacing": "trailing"}
LEADING = {"timestep_spacing": "leading"}
V = {"prediction_type": "v_prediction"}
EPSILON = {"prediction_type": "epsilon"}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd15": ("PNDMScheduler", {**STABLE, "skip_prk_steps": True, **EPSILON}),
    "sd15-ddim": ("DDIMScheduler", {**STABLE, **EPSILON, **LEADING}),
    "sd21-v": ("DDIMScheduler", {**STABLE, **V, **LEADING, "rescale_betas_zero_snr": False}),
    "sd21-zsnr": ("DDIMScheduler", {**STABLE, **V, **TRAILING, "rescale_betas_zero_snr": True}),
    "sd-turbo": ("EulerDiscreteScheduler", {**BETAS, **EPSILON, **TRAILING, "steps_offset": 1}),
    "lcm": ("LCMScheduler", {**BETAS, **EPSILON, "original_inference_steps": 50, "set_alpha_to_one": True}),
    "sdxl": ("EulerDiscreteScheduler", {**BETAS, **EPSILON, **LEADING, "steps_offset": 1}),
    "sdxl-turbo": ("EulerAncestralDiscreteScheduler", {**BETAS, **EPSILON, **TRAILING}),
    "sdxl-lcm": ("LCMScheduler", {**STABLE, **EPSILON}),
    "sd3": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": False}),
    "sd3-no-t5": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": False}),
    "sd35": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": False}),
    "sd35-dynamic": ("FlowMatchEulerDiscreteScheduler", {**DYNAMIC, "use_dynamic_shifting": True}),
    "flux-dev": ("FlowMatchEulerDiscreteScheduler", {**DYNAMIC, "use_dynamic_shifting": True}),
    "flux-schnell": (
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 1.0, "max_shift": 1.15, "use_dynamic_shifting": False},
    ),
    "kolors": (
        "EulerDiscreteScheduler",
        {**BETAS, "beta_end": 0.014, "num_train_timesteps": 1100, **EPSILON, **LEADING, "steps_offset": 1},
    ),
    "pixart-alpha": ("DPMSolverMultistepScheduler", {**LINEAR, **EPSILON, "solver_order": 2}),
    "pixart-alpha-ddim": ("DDIMScheduler", {**LINEAR, **EPSILON, "timestep_spacing": "linspace"}),
    "pixart-sigma-ddim": ("DDIMScheduler", {**LINEAR, **EPSILON, "timestep_spacing": "linspace"}),
    "pixart-lcm": ("LCMScheduler", {**LINEAR, **EPSILON, "original_inference_steps": 50}),
    "hunyuan-dit": ("DDPMScheduler", {**BETAS, "beta_end": 0.018, **V, **LEADING, "steps_offset": 1}),
    "hunyuan-dit-1.1": ("DDPMScheduler", {**BETAS, "beta_end": 0.03, **V, **LEADING, "steps_offset": 1}),
}

every_pipeline = pytest.mark.parametrize("name", CONDITIONS)


@cache
def shared(name: str) -> Any:
    """A pipeline for tests that do not change it."""
    return BUILDERS[name]()


def network_of(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or pipe.transformer


def sample(pipe: Any, prompt: str = PROMPTS[0], output_type: str = "latent", **options: Any) -> Any:
    options = {
        "num_inference_steps": 5,
        **SIZE,
        **own_size(pipe),
        **options,
        "generator": torch.Generator().manual_seed(0),
    }
    return pipe(prompt, output_type=output_type, **options).images


def change(a: Tensor, b: Tensor) -> float:
    """How far b is from a, relative to a."""
    return float(torch.linalg.vector_norm(b - a) / torch.linalg.vector_norm(a))


def first_call(pipe: Any, **options: Any) -> dict[str, Any]:
    """What the pipeline's own call hands its network first, by the names of the network's arguments."""
    calls: list[dict[str, Any]] = []

    def record(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        calls.append({**dict(zip(names, args, strict=False)), **kwargs})

    names = inspect.signature(network_of(pipe).forward).parameters
    hook = network_of(pipe).register_forward_pre_hook(record, with_kwargs=True)
    try:
        sample(pipe, num_inference_steps=2, **options)
    finally:
        hook.remove()
    call = calls[0]
    # Several entries of one argument, of which any may be wrong.
    call |= call.pop("added_cond_kwargs", None) or {}
    return call


@torch.no_grad()
def predict(pipe: Any, call: Mapping[str, Any]) -> Tensor:
    added = {name: call[name] for name in ADDED if name in call}
    rest = {name: value for name, value in call.items() if name not in added}
    if added:
        rest["added_cond_kwargs"] = added
    prediction: Tensor = network_of(pipe)(**{**rest, "return_dict": False})[0]
    return prediction


@every_pipeline
def test_each_condition_alone_changes_the_prediction(name: str) -> None:
    pipe = shared(name)
    options = {"original_size": (96, 64)} if {"time_ids", "image_meta_size"} & CONDITIONS[name] else {}
    one = first_call(pipe, prompt=PROMPTS[0], guidance_scale=3.0)
    other = first_call(pipe, prompt=PROMPTS[1], guidance_scale=4.0, **options)
    differing = {key for key, value in one.items() if torch.is_tensor(value) and not torch.equal(value, other[key])}
    assert differing == CONDITIONS[name]
    prediction = predict(pipe, one)
    changes = {key: change(prediction, predict(pipe, {**one, key: other[key]})) for key in differing}
    assert min(changes.values()) > CLEARLY, changes


@every_pipeline
def test_the_next_timestep_changes_the_prediction(name: str) -> None:
    pipe = shared(name)
    call = first_call(pipe)
    # Flux counts time from 0 to 1.
    later = call["timestep"] - (1e-3 if name.startswith("flux") else 1)
    assert change(predict(pipe, call), predict(pipe, {**call, "timestep": later})) > CLEARLY


@every_pipeline
def test_the_prompt_changes_the_sample(name: str) -> None:
    pipe = shared(name)
    assert change(sample(pipe, PROMPTS[0]), sample(pipe, PROMPTS[1])) > CLEARLY


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, "prompt_2") for name in CONDITIONS if name.startswith(("sdxl", "sd3", "flux"))]
    + [(name, "prompt_3") for name in ("sd3", "sd35", "sd35-dynamic")],
)
def test_what_a_further_text_encoder_reads_changes_the_sample(name: str, argument: str) -> None:
    pipe = shared(name)
    assert change(sample(pipe), sample(pipe, **{argument: PROMPTS[1]})) > CLEARLY


@pytest.mark.parametrize("name", GUIDED)
def test_the_negative_prompt_changes_the_sample(name: str) -> None:
    pipe, guidance = shared(name), GUIDED[name]
    samples = [sample(pipe, negative_prompt=negative, **guidance) for negative in ("a bird", "a fish", "")]
    assert change(samples[0], samples[1]) > CLEARLY
    assert change(samples[0], samples[2]) > CLEARLY


@pytest.mark.parametrize("name", ["pixart-alpha", "pixart-lcm"])
@pytest.mark.parametrize("entry", ["resolution", "aspect_ratio"])
def test_the_size_changes_the_prediction_of_pixart_alpha(name: str, entry: str) -> None:
    pipe = shared(name)
    call = first_call(pipe)
    assert call["resolution"].tolist()[0] == [SIZE["height"], SIZE["width"]]
    assert change(predict(pipe, call), predict(pipe, {**call, entry: 2 * call[entry]})) > CLEARLY


@pytest.mark.parametrize("name", CROPPED)
def test_sizes_and_crop_change_the_sample_of_sdxl(name: str) -> None:
    pipe = shared(name)
    plain = sample(pipe)
    conditions: list[dict[str, Any]] = [
        {"original_size": (64, 96)},
        {"target_size": (80, 64)},
        {"crops_coords_top_left": (0, 8)},
    ]
    for told in conditions:
        assert change(plain, sample(pipe, **told)) > CLEARLY


@every_pipeline
def test_five_guided_steps_stay_tame(name: str) -> None:
    pipe = shared(name)
    latents = sample(pipe, **GUIDED.get(name, {}))
    assert latents.isfinite().all()
    if name.startswith("pixart"):
        # Of the noisiest latent of linear betas the image is 1/157: what an untrained network leaves of the noise is as
        # many times larger.
        assert latents.std() < 50.0 * 157
        return
    assert latents.std() < 50.0
    pictures = torch.from_numpy(sample(pipe, output_type="np", **GUIDED.get(name, {})))
    assert pictures.shape == (1, 64, 64, 3)
    # Neither of one colour nor clipped for the most part: a wrong latent shows in the image.
    assert pictures.std() > 0.05
    assert ((pictures == 0.0) | (pictures == 1.0)).float().mean() < 0.5


@every_pipeline
@torch.no_grad()
def test_latents_of_images_are_of_the_order_of_one(name: str) -> None:
    vae = shared(name).vae
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoded = vae.encode(pixels).latent_dist
    latents = (encoded.mode() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    assert 0.2 < latents.std() < 5.0
    assert encoded.std.max() < 1.0


def assert_same_networks(loaded: Any, pipe: Any) -> None:
    for component, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            weights = getattr(loaded, component).state_dict()
            assert weights.keys() == module.state_dict().keys()
            assert all(torch.equal(weights[key], weight) for key, weight in module.state_dict().items())


def assert_same_picture(loaded: Any, pipe: Any) -> None:
    loaded.set_progress_bar_config(disable=True)
    # Equal weights elsewhere in memory may be summed in another order.
    np.testing.assert_allclose(sample(loaded, output_type="np"), sample(pipe, output_type="np"), rtol=0, atol=1e-5)


@every_pipeline
def test_a_saved_pipeline_draws_the_same_image(name: str, tmp_path: Path) -> None:
    pipe = shared(name)
    pipe.save_pretrained(tmp_path)
    # A folder without the third text encoder has to be told so, as SD 3 from the hub has.
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-no-t5" else {}
    loaded = diffusers.DiffusionPipeline.from_pretrained(tmp_path, **absent)
    assert type(loaded) is type(pipe)
    assert type(loaded.scheduler) is type(pipe.scheduler)
    # Diffusers notes which entries it was not given: in a file that it wrote there are none.
    assert dict(loaded.scheduler.config) == {
        k: v for k, v in pipe.scheduler.config.items() if k != "_use_default_values"
    }
    assert_same_networks(loaded, pipe)
    assert_same_picture(loaded, pipe)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 2e6


@every_pipeline
def test_schedulers_are_the_real_models(name: str) -> None:
    scheduler = shared(name).scheduler
    cls, entries = SCHEDULERS[name]
    assert type(scheduler).__name__ == cls
    assert {key: scheduler.config.get(key) for key in entries} == entries


@every_pipeline
def test_weights_are_the_same_every_time_and_no_global_random_number_is_drawn(name: str) -> None:
    state = torch.random.get_rng_state()
    pipe = BUILDERS[name]()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_networks(pipe, shared(name))
    networks = [module for module in pipe.components.values() if isinstance(module, torch.nn.Module)]
    assert {weight.dtype for network in networks for weight in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "pair",
    [("sd15", "sd15-ddim"), ("sd21-v", "sd21-zsnr"), ("flux-dev", "flux-schnell"), ("hunyuan-dit", "hunyuan-dit-1.1")],
)
def test_pipelines_of_one_family_have_weights_of_their_own(pair: tuple[str, str]) -> None:
    one, other = (next(network_of(shared(name)).parameters()) for name in pair)
    assert not torch.equal(one, other)


CHECKPOINTS = {
    "sd15-ddim": {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.middle_block.2.out_layers.3.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
        "first_stage_model.decoder.up.0.block.0.norm1.weight",
    },
    "sd21-v": {"cond_stage_model.model.token_embedding.weight"},
    "sdxl": {
        "model.diffusion_model.label_emb.0.0.weight",
        "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
    },
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_single_file_has_the_original_names_and_draws_the_same_image(name: str, tmp_path: Path) -> None:
    pipe, folder = shared(name), tmp_path / "folder"
    pipe.save_pretrained(folder)
    path = single_file(pipe, tmp_path / "model.safetensors")
    weights = load_file(path)
    assert weights.keys() >= CHECKPOINTS[name]
    assert weights["first_stage_model.encoder.mid.attn_1.q.weight"].shape[2:] == (1, 1)
    for network in folder.rglob("*.safetensors"):
        network.unlink()
    loaded = type(pipe).from_single_file(str(path), config=str(folder), local_files_only=True)
    assert_same_networks(loaded, pipe)
    assert_same_picture(loaded, pipe)


@pytest.mark.parametrize("name", ["lcm", "sdxl-lcm", "sd3", "flux-dev"])
def test_no_single_file_is_written_of_what_the_layout_has_no_names_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected Stable Diffusion"):
        single_file(shared(name), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


# One of each architecture.
ADAPTED = [*("sd15", "sd21-v", "lcm", "sdxl", "sdxl-lcm", "sd3", "sd3-no-t5", "sd35", "flux-dev", "flux-schnell")]


@pytest.mark.parametrize("name", ADAPTED)
def test_a_lora_changes_the_sample_and_leaves_no_trace(name: str, tmp_path: Path) -> None:
    pipe = BUILDERS[name]()
    plain = sample(pipe)
    lora(pipe, tmp_path / "network")
    file = lora(pipe, tmp_path / "both", text_encoder=True)
    assert file == tmp_path / "both" / "pytorch_lora_weights.safetensors"
    samples = {}
    for folder in ("network", "both"):
        pipe.load_lora_weights(tmp_path / folder)
        samples[folder] = sample(pipe)
        pipe.unload_lora_weights()
    assert torch.equal(sample(pipe), plain)
    assert change(plain, samples["network"]) > CLEARLY
    assert change(samples["network"], samples["both"]) > CLEARLY
    assert samples["both"].std() < 50.0


PICTURES = [Image.new("RGB", (50, 40), color) for color in ("red", "lime")]


@pytest.mark.parametrize(
    ("name", "plus"),
    [*((name, False) for name in ADAPTED), *((name, True) for name in ADAPTED if not name.startswith(("sd3", "flux")))],
)
def test_a_image_for_an_ip_adapter_changes_the_sample(name: str, plus: bool, tmp_path: Path) -> None:
    pipe, guidance = BUILDERS[name](), GUIDED.get(name, {})
    pipe.load_ip_adapter(tmp_path, **ip_adapter(pipe, tmp_path, plus=plus))
    pipe.register_modules(**image_encoder(pipe))
    samples = [sample(pipe, ip_adapter_image=picture, **guidance) for picture in PICTURES]
    assert change(samples[0], samples[1]) > CLEARLY
    assert samples[0].std() < 50.0
    pipe.unload_ip_adapter()
    assert torch.equal(sample(pipe), sample(shared(name)))


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux-dev"])
def test_adapters_are_the_same_every_time(name: str, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "once", tmp_path / "again"):
        state = torch.random.get_rng_state()
        lora(shared(name), folder, text_encoder=True)
        ip_adapter(shared(name), folder)
        assert torch.equal(torch.random.get_rng_state(), state)
        written.append({path.name: load_file(path) for path in folder.iterdir()})
    assert written[0].keys() == {"pytorch_lora_weights.safetensors", "ip-adapter.safetensors"}
    for file, weights in written[0].items():
        assert all(torch.equal(weight, written[1][file][key]) for key, weight in weights.items())


@pytest.mark.parametrize("name", ["sd15", "sdxl", "flux-dev"])
def test_two_ip_adapters_are_shown_a_image_each(name: str, tmp_path: Path) -> None:
    pipe = BUILDERS[name]()
    one, two = (ip_adapter(pipe, tmp_path, name=file) for file in ("one", "two"))
    pipe.register_modules(**image_encoder(pipe))
    pipe.load_ip_adapter(tmp_path, **{**one, "weight_name": [one["weight_name"], two["weight_name"]]})
    samples = [sample(pipe, ip_adapter_image=pictures) for pictures in (PICTURES, PICTURES[::-1])]
    assert change(samples[0], samples[1]) > CLEARLY


@pytest.mark.slow
def test_the_script_writes_the_pipelines_that_it_is_asked_for(tmp_path: Path) -> None:
    script = Path(__file__).parent / "tiny_pipelines"
    ran = subprocess.run([sys.executable, script, tmp_path, "sd15"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert [folder.name for folder in tmp_path.iterdir()] == ["sd15"]
    assert json.loads((tmp_path / "sd15" / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"


def test_the_script_names_the_pipelines_when_asked_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "out"), "sd15", "sd9"])
    assert "no pipeline is named sd9; known are sd15, sd15-ddim" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
