"""What a LoRA or a single file is called may tell a model of a few steps; then a line says what was assumed."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from renoise import ConfigError, Editor, InversionConfig, RenoiseWarning, SchedulerError
from renoise.backbones import families_by_name
from renoise.errors import AdapterWarning
from renoise.loading.few_steps import told_by
from renoise.named_presets import NAMED, held
from tiny_pipelines.adapters import LORA_FILE
from written import built, file_of, folder_of, in_cache, lora_for

FAMILIES = families_by_name()


@pytest.mark.parametrize(
    ("name", "family", "told"),
    [
        ("sdxl_lightning_4step_lora", "sdxl", "sdxl-lightning-4"),
        ("sdxl_lightning_8step", "sdxl", "sdxl-lightning-8"),
        ("SDXL-Lightning-2-Steps", "sdxl", "sdxl-lightning-2"),
        ("my lightning4steps v2", "sdxl", "sdxl-lightning-4"),
        ("Hyper-SDXL-4steps-lora", "sdxl", "hyper-sdxl-4"),
        ("Hyper-SDXL-12steps-CFG-lora", "sdxl", "hyper-sdxl-12"),
        ("Hyper-SDXL-1step-lora", "sdxl", "hyper-sdxl-1"),
        ("Hyper-SDXL-1step-Unet", "sdxl", "hyper-sdxl-unet-1"),
        ("Hyper-SD15-8steps-lora", "sd", "hyper-sd15-8"),
        ("Hyper-SD3-8steps-CFG-lora", "sd3", "hyper-sd3-8"),
        ("Hyper-FLUX.1-dev-8steps-lora", "flux", "flux-hyper-8"),
        ("FLUX.1-Turbo-Alpha", "flux", "flux-turbo-8"),
        ("flux_turboalpha", "flux", "flux-turbo-8"),
        ("dmd2_sdxl_4step_lora_fp16", "sdxl", "dmd2-4"),
        ("DMD2", "sdxl", "dmd2-4"),
        ("dmd2_sdxl_1step_unet", "sdxl", "dmd2-1"),
        ("pcm_sdxl_smallcfg_4step_converted", "sdxl", "pcm-sdxl-4"),
        ("pcm_sd15_normalcfg_16step_converted", "sd", "pcm-sd15-16"),
        ("lcm-lora-sdxl", "sdxl", "lcm-4"),
        ("lcm-lora-sdv1-5", "sd", "lcm-4"),
        ("TCD-SDXL-LoRA", "sdxl", "tcd-4"),
        ("Qwen-Image-Lightning-8steps-V1.1", "qwen-image", "qwen-image-lightning-8"),
        ("Qwen-Image-Lightning-8steps-V1.1", "sdxl", None),
        ("sdxl_lightning_4step_lora", "qwen-image", None),
        # Another word, no number of steps, several of them, one that there is not, another family, two kinds.
        ("lightningstrike_4step", "sdxl", None),
        ("hyperreality 8 steps", "sdxl", None),
        ("sdxl_lightning_lora", "sdxl", None),
        ("sdxl_lightning_4step_8step", "sdxl", None),
        ("sdxl_lightning_6step", "sdxl", None),
        ("sdxl_lightning_14step", "sdxl", None),
        ("sdxl_lightning_4stepping", "sdxl", None),
        ("sdxl_lightning_4step_lora", "sd", None),
        ("Hyper-SD15-4steps-lora", "sdxl", None),
        ("Hyper-SDXL-4steps-lora", "sd", None),
        ("lcm-lora-sdxl", "sd", None),
        ("dmd2_lcm", "sdxl", "dmd2-4"),
        ("FLUX.1-Turbo", "flux", None),
        ("turbo_alpha_romeo", "flux", None),
        ("flux_alpha_turbo", "flux", None),
        ("dmd", "sdxl", None),
        ("dmd_lcm", "sdxl", None),
        ("dark_matter_dmd_v3", "sdxl", None),
        ("my-lightning-storm", "sdxl", None),
        ("hyperrealism", "sdxl", None),
        ("turbocharged_car_4step", "sdxl", None),
        ("4step", "sdxl", None),
        ("", "sdxl", None),
        ("lightning " + "x" * 10**6 + " 4step", "sdxl", None),
    ],
)
def test_names_tell_by_whole_words(name: str, family: str, told: str | None) -> None:
    found = [preset.name for preset in told_by(name, FAMILIES[family])]
    assert found == ([] if told is None else [told])


def test_every_preset_with_words_is_told_by_some_name() -> None:
    for preset in NAMED.values():
        if preset.words:
            name = f"{' '.join(preset.words)} {preset.steps}step"
            assert preset in told_by(name, FAMILIES[preset.families[0]])


def lora_called(
    name: str, tiny: Path, place: Path, metadata: Mapping[str, str] | None = None, pipeline: str = "sdxl"
) -> Path:
    """LoRA weights in a file of that name."""
    path = place / f"{name}.safetensors"
    save_file(
        load_file(lora_for(pipeline, tiny) / LORA_FILE), path, metadata=None if metadata is None else {**metadata}
    )
    return path


def loaded(model: Path, **options: Any) -> tuple[Editor, list[str]]:
    """The model, and what was said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenoiseWarning)
        editor = Editor.from_pretrained(model, device="cpu", **options)
    return editor, [str(one.message) for one in caught if issubclass(one.category, RenoiseWarning)]


def test_a_loras_name_decides_with_a_line(tiny: Path, tmp_path: Path) -> None:
    lora = lora_called("sdxl_lightning_4step_lora", tiny, tmp_path)
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora)
    assert editor.timesteps() == (999.0, 749.0, 499.0, 249.0)
    assert editor.config("exact").num_steps == 4
    (line,) = said
    assert line.startswith("assuming the preset sdxl-lightning-4 (4 steps, euler, trailing spacing) of the LoRA")
    assert "by the name 'sdxl_lightning_4step_lora'" in line
    assert "if it is wrong, give sampler" in line
    assert held(editor.pipe) == NAMED["sdxl-lightning-4"]


def test_metadata_goes_before_the_name(tiny: Path, tmp_path: Path) -> None:
    metadata = {"modelspec.title": "SDXL Lightning 8 steps"}
    lora = lora_called("sdxl_lightning_4step_lora", tiny, tmp_path, metadata)
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora)
    assert len(editor.timesteps()) == 8
    assert "by the name 'SDXL Lightning 8 steps'" in said[0]
    for title in ("a painter's style", ""):  # where the metadata tells nothing, the name does
        lora = lora_called("sdxl_lightning_4step_lora", tiny, tmp_path, {"ss_output_name": title})
        assert len(loaded(folder_of("sdxl", tiny), lora=lora)[0].timesteps()) == 4


def test_a_folder_is_named_as_well(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lora_for("sdxl", tiny), tmp_path / "dmd2_sdxl_4step_lora"))
    editor, said = loaded(folder_of("sdxl", tiny), lora=folder)
    assert type(editor.pipe.scheduler).__name__ == "LCMScheduler"
    assert editor.timesteps() == (999.0, 749.0, 499.0, 249.0)
    assert editor.timesteps(InversionConfig(num_steps=4)) != editor.timesteps()  # LCM's own are others
    assert "by the name 'dmd2_sdxl_4step_lora'" in said[0]


@pytest.mark.usefixtures("no_hub")
def test_a_hub_name_is_a_name(tiny: Path, tmp_path: Path) -> None:
    in_cache(lora_for("sdxl", tiny), tmp_path, "me/hyper-sdxl-8steps")
    editor, said = loaded(folder_of("sdxl", tiny), lora="me/hyper-sdxl-8steps", cache_dir=tmp_path)
    assert (type(editor.pipe.scheduler).__name__, len(editor.timesteps())) == ("DDIMScheduler", 8)
    assert "of the LoRA me/hyper-sdxl-8steps, by the name 'hyper-sdxl-8steps'" in said[0]


def test_a_scheduler_in_the_loras_folder_goes_before_its_name(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lora_for("sdxl", tiny), tmp_path / "sdxl_lightning_4step"))
    built("lcm").scheduler.save_pretrained(folder / "scheduler")
    editor, said = loaded(folder_of("sdxl", tiny), lora=folder)
    assert type(editor.pipe.scheduler).__name__ == "LCMScheduler"
    assert held(editor.pipe) is None
    assert not said
    # But what is asked for goes before both.
    editor, said = loaded(folder_of("sdxl", tiny), lora=folder, preset="sdxl-lightning-4")
    assert type(editor.pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert not said


@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_a_lora_that_is_not_in_force_tells_nothing(tiny: Path, tmp_path: Path, strength: float) -> None:
    lora = lora_called("sdxl_lightning_4step_lora", tiny, tmp_path)
    editor, said = loaded(folder_of("sdxl", tiny), lora=(lora, strength))
    assert held(editor.pipe) is None
    assert not said


@pytest.mark.parametrize("name", ["Hyper-SD15-4steps-lora", "FLUX.1-Turbo-Alpha", "lightningstrike_4step", "style"])
def test_nothing_is_assumed_by_other_names(tiny: Path, tmp_path: Path, name: str) -> None:
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora_called(name, tiny, tmp_path))
    own = built("sdxl").scheduler
    assert type(editor.pipe.scheduler) is type(own)
    assert editor.pipe.scheduler.config.timestep_spacing == own.config.timestep_spacing
    assert held(editor.pipe) is None
    assert not said


def test_names_that_contradict_each_other_decide_nothing(tiny: Path, tmp_path: Path) -> None:
    loras = [lora_called(name, tiny, tmp_path) for name in ("sdxl_lightning_4step", "Hyper-SDXL-8steps")]
    editor, said = loaded(folder_of("sdxl", tiny), lora=loras)
    assert held(editor.pipe) is None
    assert "may be hyper-sdxl-8 or sdxl-lightning-4: nothing is assumed; say which with preset" in said[0]
    editor, said = loaded(folder_of("sdxl", tiny), lora=loras, preset="hyper-sdxl-8")
    assert len(editor.timesteps()) == 8
    assert not said


def test_what_is_asked_for_goes_before_a_name(tiny: Path, tmp_path: Path) -> None:
    lora = lora_called("sdxl_lightning_4step_lora", tiny, tmp_path)
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora, preset="dmd2-4")
    assert held(editor.pipe) == NAMED["dmd2-4"]
    assert not said
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora, sampler="ddim")
    assert type(editor.pipe.scheduler).__name__ == "DDIMScheduler"
    assert editor.pipe.scheduler.config.timestep_spacing == "leading"
    assert "DDIMScheduler is taken, as asked for" in said[0]
    assert editor.config(num_steps=7).num_steps == 7
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora, spacing="linspace")
    assert editor.pipe.scheduler.config.timestep_spacing == "linspace"
    assert "has trailing spacing; linspace is taken, as asked for" in said[0]
    own = built("sd15-ddim").scheduler
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora, scheduler=own)
    assert editor.pipe.scheduler is own
    assert "DDIMScheduler is taken, as asked for" in said[0]


def test_the_sampler_of_a_preset_may_be_another(tiny: Path) -> None:
    editor, said = loaded(folder_of("sdxl", tiny), preset="dmd2-4", sampler="ddim")
    assert type(editor.pipe.scheduler).__name__ == "DDIMScheduler"
    assert (editor.config().num_steps, editor.config().timesteps) == (4, None)
    assert "the preset dmd2-4 is sampled by 4 steps at 999, 749, 499, 249, lcm; DDIMScheduler is taken" in said[0]
    editor, said = loaded(folder_of("sdxl", tiny), preset="sdxl-lightning-2", sampler="euler")
    assert editor.timesteps() == (999.0, 499.0)
    assert not said


def test_what_a_network_predicts_goes_with_any_sampler(tiny: Path) -> None:
    editor, _ = loaded(folder_of("sdxl", tiny), preset="sdxl-lightning-1", sampler="ddim")
    config = editor.pipe.scheduler.config
    assert (config.prediction_type, config.timestep_spacing) == ("sample", "leading")
    editor, _ = loaded(folder_of("sdxl", tiny), preset="sdxl-lightning-1", sampler="euler-ancestral")
    with pytest.raises(SchedulerError, match="does not implement sample prediction"):
        editor.timesteps()


def test_a_strength_that_is_not_1_is_remarked_on(tiny: Path, tmp_path: Path) -> None:
    lora = lora_called("Hyper-SD3-4steps-lora", tiny, tmp_path, pipeline="sd3")
    with pytest.warns(AdapterWarning, match=r"strength 0\.125, and is in full force; give lora=.*:0\.125"):
        Editor.from_pretrained(folder_of("sd3", tiny), device="cpu", lora=lora)
    _, said = loaded(folder_of("sd3", tiny), lora=f"{lora}:0.125")
    assert len(said) == 1
    assert said[0].startswith("assuming the preset hyper-sd3-4")
    # Also where the preset was asked for; but not of another LoRA beside it.
    style = lora_called("style", tiny, tmp_path, pipeline="sd3")
    _, said = loaded(folder_of("sd3", tiny), lora=lora, preset="hyper-sd3-4")
    assert [one for one in said if f'give lora="{lora}:0.125"' in one] == said != []
    _, said = loaded(folder_of("sd3", tiny), lora=style, preset="hyper-sd3-4")
    assert len(said) == 1
    assert f"{style}:0.125" in said[0]
    for preset in (None, "hyper-sd3-4"):
        _, said = loaded(folder_of("sd3", tiny), lora=[f"{lora}:0.125", style], preset=preset)
        assert not any("in full force" in one for one in said)


@pytest.mark.parametrize("name", ["sdxl_lightning_4step\x1b[31m", "sdxl_lightning_4step\u202elora", "lcm " + "y" * 200])
def test_a_hostile_name_is_shown_escaped(tiny: Path, tmp_path: Path, name: str) -> None:
    _, said = loaded(folder_of("sdxl", tiny), lora=lora_called(name, tiny, tmp_path))
    assert said
    for line in said:
        assert line.isprintable()
        assert len(line) < 1000


def test_a_hostile_title_is_shown_escaped(tiny: Path, tmp_path: Path) -> None:
    title = "sdxl lightning 4 steps\n\x1b[31m" + "x" * 100_000
    lora = lora_called("plain", tiny, tmp_path, {"modelspec.title": title})
    editor, said = loaded(folder_of("sdxl", tiny), lora=lora)
    assert len(editor.timesteps()) == 4
    assert said[0].isprintable()
    assert len(said[0]) < 1000


def test_a_single_file_of_that_name_is_told_as_well(tiny: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(file_of("sdxl", tiny), tmp_path / "sdxl_lightning_4step.safetensors"))
    editor, said = loaded(path, config=folder_of("sdxl", tiny))
    assert editor.timesteps() == (999.0, 749.0, 499.0, 249.0)
    assert len(said) == 1
    assert "of the file sdxl_lightning_4step.safetensors, by the name 'sdxl_lightning_4step'" in said[0]
    editor, said = loaded(path, config=folder_of("sdxl", tiny), preset="hyper-sdxl-2")
    assert (type(editor.pipe.scheduler).__name__, editor.timesteps()) == ("DDIMScheduler", (999.0, 499.0))
    assert not said


def test_what_a_single_file_says_of_itself_goes_before_its_name(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "sdxl_lightning_4step.safetensors"
    save_file(load_file(file_of("sdxl", tiny)), path, metadata={"modelspec.prediction_type": "v"})
    editor, said = loaded(path, config=folder_of("sdxl", tiny))
    assert held(editor.pipe) is None
    assert any("is called lightning" in one for one in said)


@pytest.mark.parametrize(
    "metadata",
    [
        {"modelspec.resolution": "64x64"},
        {"modelspec.predict_key": "epsilon"},
        {"modelspec.prediction_type": "epsilon", "ss_zero_terminal_snr": "false"},
    ],
)
def test_a_single_file_may_agree_with_its_name(tiny: Path, tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "sdxl_lightning_4step.safetensors"
    save_file(load_file(file_of("sdxl", tiny)), path, metadata=metadata)
    editor, said = loaded(path, config=folder_of("sdxl", tiny))
    assert held(editor.pipe) == NAMED["sdxl-lightning-4"]
    assert any(one.startswith("assuming the preset sdxl-lightning-4") for one in said)


@pytest.mark.parametrize(("family", "name"), [("sd3", "sdxl-lightning-4"), ("sd15-ddim", "dmd2-4")])
def test_a_preset_of_another_family_is_refused_before_the_model_is_loaded(
    tiny: Path, tmp_path: Path, family: str, name: str
) -> None:
    folder = Path(shutil.copytree(folder_of(family, tiny), tmp_path / "model"))
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ConfigError, match=f"the preset {name} is for models of Stable Diffusion XL, and not for"):
        Editor.from_pretrained(folder, device="cpu", preset=name)


@pytest.mark.parametrize("preset", ["exact", "sdxl-lightning-4:exact", "nothing", 7])
def test_what_is_no_model_is_refused_before_anything_is_loaded(preset: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", preset=preset)
    assert "preset" in str(caught.value)


@pytest.mark.usefixtures("no_hub")
def test_a_model_of_the_list_has_its_preset(tiny: Path, tmp_path: Path) -> None:
    name = "stabilityai/stable-diffusion-3.5-large-turbo"
    in_cache(folder_of("sd3", tiny), tmp_path, name)
    editor, said = loaded(Path(name), cache_dir=tmp_path)
    assert len(editor.timesteps()) == 4
    assert said[0].startswith("assuming the preset sd3.5-large-turbo")
    assert f"of the model {name}, which the list of models knows" in said[0]
