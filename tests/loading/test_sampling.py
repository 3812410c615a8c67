"""A single file is sampled as it says that its model was trained, and schedules have the spacing that is asked for."""

from __future__ import annotations

import copy
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.schedulers import scheduling_euler_discrete as euler
from safetensors.torch import load_file, save_file
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, ModelError, RenoiseWarning, SchedulerError, presets
from renoise.defaults import edit_guidance_for
from renoise.loading.sampling import follow, spaced
from renoise.loading.training import Training, training_of
from renoise.schedulers import SUPPORTED
from tiny_pipelines import BUILDERS
from written import built, file_of, folder_of

EMPTY = torch.tensor([])
MEAN, DEVIATION = torch.tensor([[[[-1.5]], [[1.75]], [[-1.25]], [[2.5]]]]), torch.tensor([8.5, 6.0, 6.5, 5.25])


def marked(path: Path, tiny: Path, name: str, extra: Mapping[str, Tensor], metadata: dict[str, str] | None) -> Path:
    """A tiny pipeline as a single file with marks and metadata."""
    save_file({**load_file(file_of(name, tiny)), **extra}, path, metadata=metadata)
    return path


def loaded(path: Path, tiny: Path, name: str, **options: Any) -> tuple[Any, list[str]]:
    """The pipeline in a file, and what was said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenoiseWarning)
        pipe = Editor.from_pretrained(path, device="cpu", **{"config": folder_of(name, tiny), **options}).pipe
    return pipe, [str(one.message) for one in caught if issubclass(one.category, RenoiseWarning)]


def followed(path: Path, name: str, marks: Mapping[str, Tensor], metadata: dict[str, str]) -> tuple[Any, list[str]]:
    """A tiny pipeline that follows marks and metadata, and what was said about it."""
    pipe = copy.copy(built(name))  # the scheduler is exchanged, and no network is changed by these
    training = training_of(path, {key: tuple(value.shape) for key, value in marks.items()}, metadata)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenoiseWarning)
        follow(pipe, training, path, {})
    return pipe, [str(one.message) for one in caught if issubclass(one.category, RenoiseWarning)]


V, ZERO = {"prediction_type": "v_prediction"}, {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("extra", "metadata", "expected"),
    [
        ({"v_pred": EMPTY}, None, V),
        ({"v_pred": EMPTY, "ztsnr": EMPTY}, None, {**V, **ZERO}),
        ({"v_pred": torch.zeros(1), "ztsnr": torch.tensor(1)}, None, {**V, **ZERO}),
        ({}, {"modelspec.prediction_type": "v"}, V),
        ({}, {"modelspec.prediction_type": " V "}, V),
        ({}, {"modelspec.prediction_type": "v_prediction"}, V),
        ({}, {"modelspec.predict_key": "v"}, V),
        ({}, {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, {**V, **ZERO}),
        ({"ztsnr": EMPTY}, {"modelspec.prediction_type": "v"}, {**V, **ZERO}),
        ({}, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, V),
        ({"v_pred": EMPTY}, {"modelspec.prediction_type": "epsilon"}, V),
        ({}, {"modelspec.prediction_type": "epsilon"}, {"prediction_type": "epsilon"}),
        ({}, {"ss_zero_terminal_snr": "False"}, {"rescale_betas_zero_snr": False}),
        ({}, {"modelspec.prediction_type": "banana"}, {"prediction_type": "epsilon"}),
        ({}, {"ss_v_parameterization": "perhaps"}, {"prediction_type": "epsilon"}),
        ({"ztsnr": EMPTY}, None, {"rescale_betas_zero_snr": False}),
    ],
)
def test_what_a_file_says_is_followed(
    tmp_path: Path, extra: dict[str, Tensor], metadata: dict[str, str] | None, expected: dict[str, Any]
) -> None:
    pipe, said = followed(tmp_path / "x.safetensors", "sdxl", extra, metadata or {})
    assert type(pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert {key: pipe.scheduler.config[key] for key in expected} == expected
    for key in ("beta_start", "beta_end", "beta_schedule"):
        assert pipe.scheduler.config[key] == built("sdxl").scheduler.config[key]
    # Whatever differs from the configuration is said, and so is what makes no sense.
    changed = any(built("sdxl").scheduler.config.get(key) != value for key, value in expected.items())
    doubtful = "banana" in str(metadata) or "perhaps" in str(metadata) or (set(extra) == {"ztsnr"} and not metadata)
    assert bool(said) == (changed or doubtful)


def test_what_agrees_with_the_configuration_is_logged(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"modelspec.prediction_type": "epsilon"}
    with caplog.at_level(logging.INFO, "renoise"):
        _, said = loaded(marked(tmp_path / "x.safetensors", tiny, "sdxl", {}, metadata), tiny, "sdxl")
    assert not said
    assert "says how it was trained (modelspec.prediction_type)" in caplog.text


@pytest.mark.parametrize(("name", "sampler"), [("sd15", None), ("sd21-v", None), ("sdxl", "ddim"), ("sdxl", "lcm")])
def test_other_samplers_are_told_as_well(tiny: Path, tmp_path: Path, name: str, sampler: str | None) -> None:
    """PNDM, which makes one step of several, becomes DDIM; a sampler that is asked for keeps what the file says."""
    path = marked(tmp_path / "x.safetensors", tiny, name, {"v_pred": EMPTY, "ztsnr": EMPTY}, None)
    pipe, _ = loaded(path, tiny, name, sampler=sampler)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.config.rescale_betas_zero_snr
    assert type(pipe.scheduler).__name__ == ("LCMScheduler" if sampler == "lcm" else "DDIMScheduler")


def test_a_file_of_stable_diffusion_2_that_predicts_noise_is_believed(tmp_path: Path) -> None:
    pipe, said = followed(tmp_path / "x", "sd21-v", {}, {"modelspec.prediction_type": "epsilon"})
    assert pipe.scheduler.config.prediction_type == "epsilon"
    assert "modelspec.prediction_type" in said[0]


def test_a_scheduler_that_is_given_takes_precedence(tiny: Path, tmp_path: Path) -> None:
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", {"v_pred": EMPTY, "edm_mean": MEAN}, None)
    own = diffusers.DDIMScheduler(clip_sample=False, beta_end=0.011)
    pipe, said = loaded(path, tiny, "sdxl", scheduler=own)
    assert pipe.scheduler is own
    assert not said


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scheduler_type": "ddim"}, ("DDIMScheduler", "v_prediction", True)),
        ({"prediction_type": "v_prediction"}, ("EulerDiscreteScheduler", "v_prediction", True)),
        ({"prediction_type": "epsilon"}, ("EulerDiscreteScheduler", "epsilon", False)),
    ],
)
def test_options_replace_what_they_name_and_leave_the_other_marks_in_force(
    tiny: Path, tmp_path: Path, options: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", {"v_pred": EMPTY, "ztsnr": EMPTY}, None)
    pipe, said = loaded(path, tiny, "sdxl", **options)
    config = pipe.scheduler.config
    assert (type(pipe.scheduler).__name__, config.prediction_type, config.rescale_betas_zero_snr) == expected
    assert not any("no effect" in one for one in said)


def test_a_flow_is_not_sampled_as_a_model_of_noise(tiny: Path, tmp_path: Path) -> None:
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", {}, {"modelspec.prediction_type": "flow"})
    with pytest.raises(ModelError, match="predicts a flow's velocity"):
        loaded(path, tiny, "sdxl")


def test_a_model_of_zero_snr_is_inverted_and_reconstructed(tiny: Path, tmp_path: Path) -> None:
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", {"v_pred": EMPTY, "ztsnr": EMPTY}, None)
    editor = Editor(loaded(path, tiny, "sdxl")[0])
    config = InversionConfig(num_steps=4).reversing()
    assert editor.timesteps(config) == (999.0, 749.0, 499.0, 249.0)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    again = editor.reconstruct(editor.invert(latents=latents, prompt="a cat", config=config), "latent")
    assert torch.isfinite(again).all()


def test_playgrounds_marks_are_its_autoencoder_and_its_noise_levels(tiny: Path, tmp_path: Path) -> None:
    marks = {"edm_mean": MEAN, "edm_std": DEVIATION}
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", marks, None)
    training = training_of(path, {key: tuple(value.shape) for key, value in marks.items()}, {})
    pipe: Any = BUILDERS["sdxl"]()
    with pytest.warns(RenoiseWarning, match=r"\(edm_mean, edm_std\): it is sampled by epsilon, noise levels up to 80"):
        follow(pipe, training, path, {})
    assert type(pipe.scheduler).__name__ == "EDMEulerScheduler"
    config = {key: pipe.scheduler.config[key] for key in ("sigma_min", "sigma_max", "sigma_data", "prediction_type")}
    assert config == {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon"}
    assert pipe.vae.config.latents_mean == [-1.5, 1.75, -1.25, 2.5]
    assert pipe.vae.config.latents_std == [8.5, 6.0, 6.5, 5.25]
    assert pipe.vae.config.scaling_factor == 0.5


@pytest.mark.parametrize(
    "marks",
    [{"edm_mean": MEAN, "edm_std": DEVIATION}, {"edm_vpred.sigma_max": torch.tensor(120.0)}],
    ids=["Playground", "CosXL"],
)
def test_models_on_continuous_noise_levels_are_inverted(tiny: Path, tmp_path: Path, marks: dict[str, Tensor]) -> None:
    pipe, _ = loaded(marked(tmp_path / "x.safetensors", tiny, "sdxl", marks, None), tiny, "sdxl")
    assert type(pipe.scheduler).__name__ == "EDMEulerScheduler"
    editor, config = Editor(pipe), InversionConfig(num_steps=4).reversing()
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    again = editor.reconstruct(editor.invert(latents=latents, prompt="a cat", config=config), "latent")
    assert torch.isfinite(again).all()
    assert len(editor.timesteps(config)) == 4


def test_v_prediction_on_continuous_noise_levels_is_read(tiny: Path, tmp_path: Path) -> None:
    marks = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
    path = marked(tmp_path / "x.safetensors", tiny, "sdxl", marks, None)
    training = training_of(path, {key: tuple(value.shape) for key, value in marks.items()}, {})
    pipe: Any = BUILDERS["sdxl"]()
    with pytest.warns(RenoiseWarning, match="sampled by v_prediction, noise levels up to 120"):
        follow(pipe, training, path, {})
    config = pipe.scheduler.config
    assert (config.sigma_max, config.sigma_data, config.sigma_schedule) == (120.0, 1.0, "exponential")
    assert config.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    "marks",
    [
        {"edm_mean": torch.zeros(4), "edm_std": torch.zeros(4)},
        {"edm_mean": torch.zeros(4), "edm_std": torch.tensor([1.0, float("nan"), 1.0, 1.0])},
        {"edm_mean": torch.zeros(3), "edm_std": torch.ones(4)},
        {"edm_mean": torch.zeros(3), "edm_std": torch.ones(3)},
        {"edm_mean": torch.zeros(0), "edm_std": torch.ones(0)},
        {"edm_mean": torch.zeros(5000), "edm_std": torch.ones(5000)},
        {"edm_vpred.sigma_max": torch.tensor(-1.0)},
        {"edm_vpred.sigma_max": torch.tensor(float("inf"))},
        {"edm_vpred.sigma_max": torch.tensor(1.0), "edm_vpred.sigma_min": torch.tensor(2.0)},
    ],
)
def test_marks_without_sense_are_one_line(tiny: Path, tmp_path: Path, marks: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError) as caught:
        loaded(marked(tmp_path / "x.safetensors", tiny, "sdxl", marks, None), tiny, "sdxl")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("resolution", "size"),
    [("128x64", (64, 128)), ("96 x 96", (96, 96)), ("64x64", (64, 64)), ("99x99", (64, 64)), ("huge", (64, 64))],
)
def test_the_size_of_the_images_is_read(tmp_path: Path, resolution: str, size: tuple[int, int]) -> None:
    pipe: Any = BUILDERS["sdxl"]()
    follow(pipe, training_of(tmp_path / "x", {}, {"modelspec.resolution": resolution}), tmp_path / "x", {})
    assert Editor(pipe).size == size


@pytest.mark.parametrize(
    ("stem", "title", "word"),
    [
        ("sd_xl_turbo_1.0", None, "turbo"),
        ("dreams", "DreamShaper XL Lightning DPM++", "Lightning"),
        ("dreams", "Turbocharged hyperreality", None),
    ],
)
def test_a_name_of_a_model_of_few_steps_is_remarked_on(
    tiny: Path, tmp_path: Path, stem: str, title: str | None, word: str | None
) -> None:
    metadata = None if title is None else {"modelspec.title": title}
    path = marked(tmp_path / f"{stem}.safetensors", tiny, "sdxl", {}, metadata)
    pipe, said = loaded(path, tiny, "sdxl")
    assert InversionConfig.for_pipeline(pipe, "paper") == presets["sdxl"]  # nothing is decided by a name
    assert [f"is called {word}" in one for one in said] == ([] if word is None else [True])
    if word is None:
        return
    assert 'spacing="trailing" with sampler="euler", or sampler="lcm"' in said[0]
    # What is advised works, and ends the remark.
    pipe, said = loaded(path, tiny, "sdxl", spacing="trailing", sampler="euler")
    assert not said
    assert InversionConfig.for_pipeline(pipe, "paper") == presets["sdxl-turbo"]
    assert Editor(pipe).timesteps() == (999.0, 749.0, 499.0, 249.0)
    pipe, said = loaded(path, tiny, "sdxl", sampler="lcm")
    assert not said
    assert InversionConfig.for_pipeline(pipe, "paper") == presets["lcm"]


@pytest.mark.parametrize(
    ("stem", "title", "word"),
    [
        ("Hyper-SDXL-8steps", "", "Hyper"),
        ("dreams", "an LCM of dreams", "LCM"),
        ("dreams_DMD2", "", "DMD2"),
        ("sdxl_lightning_4step", "", "lightning"),
        ("dreams", "", None),
    ],
)
def test_words_of_few_steps_are_found(stem: str, title: str, word: str | None) -> None:
    assert training_of(Path(f"{stem}.safetensors"), {}, {"modelspec.title": title}).few_steps == word


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_spacing_has_an_effect_or_is_refused(name: str, spacing: str) -> None:
    own = getattr(diffusers, name)()
    if name not in ("DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        with pytest.raises(SchedulerError, match=f"timesteps of {name} are spaced in one way alone"):
            spaced(own, spacing)
        return
    other = spaced(own, spacing)
    other.set_timesteps(4)
    first = {"leading": 750, "trailing": 999, "linspace": 999}[spacing]
    assert (type(other).__name__, int(other.timesteps[0])) == (name, first)


def own_levels(scheduler: Any) -> tuple[float, ...]:
    """The noise levels of a schedule of six steps."""
    scheduler.set_timesteps(6)
    return tuple(scheduler.sigmas.tolist())


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
@pytest.mark.parametrize("spacing", ["karras", "exponential", "beta"])
def test_noise_levels_are_spaced_as_diffusers_does(name: str, spacing: str) -> None:
    cls = getattr(diffusers, name)
    own = cls(use_karras_sigmas=True)  # whose own spacing goes
    other = spaced(own, spacing)
    assert own_levels(other) == own_levels(cls(**{f"use_{spacing}_sigmas": True}))
    assert own_levels(other) != own_levels(cls())
    assert own.config.use_karras_sigmas


@pytest.mark.parametrize("spacing", ["karras", "exponential"])
def test_noise_levels_of_edm_are_spaced(spacing: str) -> None:
    other = spaced(diffusers.EDMEulerScheduler(), spacing)
    assert own_levels(other) == own_levels(diffusers.EDMEulerScheduler(sigma_schedule=spacing))


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        *((name, "karras") for name in ("DDIMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler")),
        ("SCMScheduler", "exponential"),
        ("EDMEulerScheduler", "beta"),
    ],
)
def test_noise_levels_that_cannot_be_spaced_are_refused(name: str, spacing: str) -> None:
    with pytest.raises(SchedulerError, match=f"noise levels of {name} have no spacing called {spacing}.*euler"):
        spaced(getattr(diffusers, name)(), spacing)


def test_a_package_that_a_spacing_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(euler, "is_scipy_available", lambda: False)
    with pytest.raises(SchedulerError, match=r"needs a package that is not installed \(.*scipy.*\); install it"):
        spaced(diffusers.EulerDiscreteScheduler(), "beta")


@pytest.mark.parametrize("spacing", ["even", "", "Trailing", 3, ["trailing"]])
def test_an_unknown_spacing_is_refused_before_the_model_is_loaded(spacing: Any) -> None:
    with pytest.raises(ConfigError, match="spacing must be leading, trailing, linspace, karras, exponential or beta"):
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", spacing=spacing)


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "lcm"])
def test_a_spacing_without_effect_is_refused(tiny: Path, name: str) -> None:
    with pytest.raises(SchedulerError, match="spaced in one way alone"):
        Editor.from_pretrained(folder_of(name, tiny), device="cpu", spacing="trailing")


def test_a_folder_takes_a_spacing_after_its_sampler_is_exchanged(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))  # its PNDM becomes DDIM
    editor = Editor.from_pretrained(folder, device="cpu", spacing="trailing")
    assert editor.timesteps(InversionConfig(num_steps=4)) == (999.0, 749.0, 499.0, 249.0)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("cls", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize(
    "settings", [V, {"rescale_betas_zero_snr": True, **V}, {"rescale_betas_zero_snr": True}], ids=str
)
def test_v_prediction_and_zero_snr_tell_models_of_many_steps(cls: str, spacing: str, settings: dict[str, Any]) -> None:
    pipe: Any = SDXL
    own = pipe.scheduler
    try:
        changes = {**settings, "timestep_spacing": spacing}
        pipe.scheduler = getattr(diffusers, cls).from_config(own.config, **changes)
        assert InversionConfig.for_pipeline(pipe, "paper") == presets["sdxl"]
        assert edit_guidance_for(pipe, InversionConfig.for_pipeline(pipe, "balanced")) == 1.5
    finally:
        pipe.scheduler = own


SDXL: Any = BUILDERS["sdxl"]()


def test_training_says_nothing_of_a_plain_file(tiny: Path) -> None:
    path = file_of("sdxl", tiny)
    assert training_of(path, {}, {}) == Training()
