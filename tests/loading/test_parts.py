"""No code runs because a model names it: parts are classes of diffusers and transformers, and of their kind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.utils import dummy_torch_and_transformers_and_sentencepiece_objects

from renoise import Editor, ModelError
from renoise.loading import parts
from renoise.loading.parts import classes_in
from renoise.loading.pipelines import load_pipeline
from tiny_pipelines import BUILDERS
from written import file_of, folder_of

CODE = "import builtins; builtins.renoise_evil = True\nclass X:\n    from_pretrained = staticmethod(print)\n"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Code that must never run, on the path of modules and in the working directory."""
    place = tmp_path / "here"
    (place / "evil").mkdir(parents=True)
    for file in ("evil/__init__.py", "unet.py", "evil_too.py", "sitecustomize.py"):
        (place / file).write_text(CODE)
    monkeypatch.syspath_prepend(place)
    monkeypatch.chdir(place)
    yield place
    import builtins

    ran = builtins.__dict__.pop("renoise_evil", False)
    for name in ("evil", "evil_too"):
        sys.modules.pop(name, None)
    assert not ran, "code that a model names has run"


def changed(folder: Path, target: Path, **entries: Any) -> Path:
    """A copy of a pipeline's folder with other entries in its index."""
    shutil.copytree(folder, target)
    index = target / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **entries}))
    for part in ("vae", "scheduler", ""):
        (target / part / "evil.py").write_text(CODE)
        (target / part / "X.py").write_text(CODE)
    return target


INDEXES: list[dict[str, Any]] = [
    {"vae": ["evil", "X"]},
    {"unet": ["evil", "X"]},
    {"unet": ["evil_too", "X"]},
    {"tokenizer": ["evil", "X"]},
    {"scheduler": ["evil", "X"]},
    {"safety_checker": ["evil", "X"]},
    {"image_encoder": ["evil", "X"]},
    {"another": ["evil", "X"]},
    {"unet": ["unet", "X"]},
    {"vae": ["diffusers.evil", "X"]},
    {"vae": [".evil", "X"]},
    {"_class_name": ["evil", "X"]},
    {"_class_name": ["pipeline", "StableDiffusionPipeline"]},
]


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("entries", INDEXES, ids=json.dumps)
def test_code_that_an_index_names_never_runs(tiny: Path, tmp_path: Path, entries: dict[str, Any]) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", **entries)
    with pytest.raises(ModelError) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError):
        Editor.from_pretrained(file_of("sd15", tiny), device="cpu", config=folder)


@pytest.mark.usefixtures("evil")
def test_a_module_that_is_imported_already_is_no_library_of_models(tiny: Path, tmp_path: Path) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", vae=["json", "JSONDecoder"])
    with pytest.raises(ModelError, match=r"names json.JSONDecoder as vae, which is no class of diffusers"):
        Editor.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("part", "library", "name"),
    [
        ("vae", "transformers", "pipeline"),
        ("vae", "diffusers", "utils"),
        ("vae", "diffusers", "UNet2DConditionModel"),
        ("vae", "diffusers", "__version__"),
        ("unet", "diffusers", "AutoencoderKL"),
        ("unet", "diffusers", "FlaxUNet2DConditionModel"),
        ("unet", "diffusers", "OnnxRuntimeModel"),
        ("unet", "diffusers", "StableDiffusionPipeline"),
        ("unet", "stable_diffusion", "StableDiffusionPipeline"),
        ("unet", "kolors", "ChatGLMModel"),
        ("text_encoder", "kolors", "ChatGLMModel"),
        ("text_encoder", "kolors", "KolorsPipeline"),
        ("text_encoder", "transformers", "MT5EncoderModel"),
        ("text_encoder", "transformers", "AutoModel"),
        ("text_encoder", "transformers", "T5EncoderModel"),
        ("tokenizer", "transformers", "AutoTokenizer"),
        ("tokenizer", "transformers", "CLIPTextModel"),
        ("scheduler", "diffusers", "AutoencoderKL"),
        ("scheduler", "transformers", "CLIPTextModel"),
    ],
)
def test_a_class_of_another_kind_is_refused(tiny: Path, tmp_path: Path, part: str, library: str, name: str) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", **{part: [library, name]})
    with pytest.raises(ModelError, match=f"names {library}.{name} as {part}, which"):
        Editor.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"_class_name": 7}, "names no pipeline, but 7"),
        ({"_class_name": None}, "names no pipeline"),
        ({"_class_name": "os.system"}, "names no pipeline"),
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel is not supported"),
        ({"_class_name": "WanPipeline"}, "WanPipeline is not supported"),
        ({"vae": ["diffusers"]}, "vae must be a library and a class"),
        ({"vae": ["diffusers", 3]}, "vae must be a library and a class"),
        ({"vae": [None, "AutoencoderKL"]}, "vae must be a library and a class"),
        ({"vae": [["diffusers"], ["AutoencoderKL"]]}, "vae must be a library and a class"),
        ({"unet": [None, None]}, "names no unet, and a pipeline of Stable Diffusion"),
        ({"vae": [None, None]}, "names no vae"),
        ({"vae": {}}, "names no vae"),
        ({"scheduler": [None, None]}, "names no scheduler"),
        ({"scheduler": "DDIM"}, "names no scheduler"),
    ],
)
def test_a_damaged_index_is_one_line(tiny: Path, tmp_path: Path, entries: dict[str, Any], words: str) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", **entries)
    with pytest.raises(ModelError, match=words) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "7", "{", "[" * 100_000, '{"a":' * 100_000, "\x00" * 10, ""])
def test_an_index_that_is_none_is_one_line(tiny: Path, tmp_path: Path, content: str) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    (folder / "model_index.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ModelError) as caught:
        Editor.from_pretrained(file_of("sd15", tiny), device="cpu", config=folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("option", ["trust_remote_code", "custom_pipeline"])
def test_options_that_run_code_are_refused_before_anything_is_looked_for(tiny: Path, option: str) -> None:
    for name in (folder_of("sd15", tiny), file_of("sd15", tiny), "renoise-tests/never-asked-for"):
        with pytest.raises(ModelError, match=f"{option} runs code"):
            Editor.from_pretrained(name, device="cpu", **{option: "evil"})


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "flux-dev", "lcm", "kolors", "pixart-alpha", "hunyuan-dit"])
def test_the_parts_of_every_family_are_known(tiny: Path, name: str) -> None:
    classes = classes_in(folder_of(name, tiny))
    assert {"vae", "text_encoder", "tokenizer", "scheduler"} < set(classes)


@pytest.mark.parametrize(
    ("part", "library", "name"),
    [
        ("tokenizer", "transformers", "CLIPTokenizerFast"),
        ("text_encoder", "transformers", "CLIPTextModelWithProjection"),
        ("scheduler", "diffusers", "DPMSolverMultistepScheduler"),
        ("vae", "diffusers", "AutoencoderTiny"),
        ("safety_checker", "stable_diffusion", "StableDiffusionSafetyChecker"),
        ("feature_extractor", "transformers", "CLIPImageProcessor"),
        ("feature_extractor", "transformers", "CLIPFeatureExtractor"),
    ],
)
def test_kin_of_a_part_are_known(tiny: Path, tmp_path: Path, part: str, library: str, name: str) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", **{part: [library, name]})
    assert "vae" in classes_in(folder)


def test_a_pipeline_names_the_library_that_it_lacks(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = changed(folder_of("sdxl", tiny), tmp_path / "model", _class_name="KolorsPipeline")
    absent = dummy_torch_and_transformers_and_sentencepiece_objects.KolorsPipeline
    monkeypatch.setattr(diffusers, "KolorsPipeline", absent)
    there = find_spec
    monkeypatch.setattr(parts, "find_spec", lambda name: None if name == "sentencepiece" else there(name))
    with pytest.raises(
        ModelError, match=r"a KolorsPipeline, which needs sentencepiece; run: pip install sentencepiece$"
    ):
        Editor.from_pretrained(folder, device="cpu")


def test_a_refiner_is_refused_as_its_single_file_is(tiny: Path, tmp_path: Path) -> None:
    # As diffusers saves the refiner's pipeline: the second encoder alone, and a condition on aesthetic scores.
    entries: dict[str, Any] = {
        "_class_name": "StableDiffusionXLImg2ImgPipeline",
        "requires_aesthetics_score": True,
        "text_encoder": [None, None],
        "tokenizer": [None, None],
    }
    folder = changed(folder_of("sdxl", tiny), tmp_path / "model", **entries)
    with pytest.raises(ModelError, match="is an SDXL refiner, which only finishes images; load the base model"):
        Editor.from_pretrained(folder, device="cpu")


def test_a_pipeline_with_a_refiners_network_is_refused() -> None:
    pipe: Any = BUILDERS["sdxl"]()
    pipe.unet.register_to_config(projection_class_embeddings_input_dim=24 + 8 * 5)
    with pytest.raises(ModelError, match="is an SDXL refiner"):
        Editor(pipe)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sd15", ("text_encoder", "tokenizer")),
        ("sdxl", ("text_encoder_2", "tokenizer_2")),
        ("sdxl", ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")),
        ("sd3", ("text_encoder_3", "tokenizer_3")),
        ("flux-dev", ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")),
    ],
)
def test_a_folder_whose_encoders_were_left_out_on_purpose_loads(
    tiny: Path, tmp_path: Path, name: str, parts: tuple[str, ...]
) -> None:
    folder = changed(folder_of(name, tiny), tmp_path / "model", **{key: [None, None] for key in parts})
    for part in parts:
        shutil.rmtree(folder / part)
    pipe = load_pipeline(folder, torch.device("cpu"))
    assert all(getattr(pipe, part) is None for part in parts)


def test_a_class_whose_library_is_not_installed_is_refused_for_that(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "diffusers.LMSDiscreteScheduler", type("Dummy", (), {"_backends": ["torch", "no_such_library"]})
    )
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", scheduler=["diffusers", "LMSDiscreteScheduler"])
    with pytest.raises(ModelError, match="needs no_such_library; run: pip install no_such_library"):
        classes_in(folder)


def test_numbers_in_an_index_are_settings_and_no_parts(tiny: Path, tmp_path: Path) -> None:
    folder = changed(folder_of("sd15", tiny), tmp_path / "model", levels=[1, 0.5])
    assert "levels" not in classes_in(folder)
    with pytest.raises(ModelError, match="names no vae"):
        classes_in(changed(folder_of("sd15", tiny), tmp_path / "other", vae=[1, 2]))
