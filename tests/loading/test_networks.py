"""Networks load with exactly the weights that they have: nothing is made up, and nothing is passed over."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from renoise import Editor, ModelError
from renoise.loading import networks
from renoise.loading.folders import weight_files
from renoise.loading.parts import classes_in
from written import built, folder_of

FAMILIES = ["lcm", "sdxl", "sd3", "flux-dev"]
Weights = dict[str, Tensor]


def half(weights: Weights) -> Weights:
    return dict(list(weights.items())[::2])


def one_gone(weights: Weights) -> Weights:
    return dict(list(weights.items())[1:])


def one_more(weights: Weights) -> Weights:
    return {**weights, "extra.weight": torch.zeros(2)}


def another_shape(weights: Weights) -> Weights:
    name = next(iter(weights))
    return {**weights, name: torch.zeros(3, *weights[name].shape[1:])}


def anothers(weights: Weights) -> Weights:
    return {f"layer.{number}.weight": weight for number, weight in enumerate(weights.values())}


CHANGES: Mapping[str, tuple[Callable[[Weights], Weights], str]] = {
    "half": (half, r"they lack [^ ]+, [^ ]+, [^ ]+ and \d+ more"),
    "one gone": (one_gone, "they lack "),
    "one more": (one_more, "hold what the network does not have, extra.weight"),
    "another shape": (another_shape, r"have another shape in \S+ \(3[ x\d]*, not "),
    "another's": (anothers, r"they lack .*, hold what the network does not have, layer\.0\.weight"),
}


def networks_in(folder: Path) -> dict[str, Any]:
    return {part: cls for part, cls in classes_in(folder).items() if issubclass(cls, torch.nn.Module)}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_do_not_fit_are_named(tiny: Path, tmp_path: Path, name: str, change: str) -> None:
    folder = Path(shutil.copytree(folder_of(name, tiny), tmp_path / "model"))
    make, words = CHANGES[change]
    for part, cls in networks_in(folder).items():
        (file,) = weight_files(folder / part)
        save_file({key: value.contiguous() for key, value in make(load_file(file)).items()}, file, {"format": "pt"})
        with pytest.raises(ModelError, match=words):
            networks.load(cls, folder, part, torch.float32, None)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_a_model_whose_weights_do_not_fit_is_refused(tiny: Path, tmp_path: Path, part: str, change: str) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    make, words = CHANGES[change]
    (file,) = weight_files(folder / part)
    save_file(make(load_file(file)), file, {"format": "pt"})
    with pytest.raises(ModelError, match=words) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoders_file_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sdxl", tiny), tmp_path / "model"))
    shutil.copy(folder / "text_encoder_2/model.safetensors", folder / "text_encoder/model.safetensors")
    with pytest.raises(ModelError, match=r"text_encoder .* another shape in .*\(24, not 16\)"):
        Editor.from_pretrained(folder, device="cpu")
    shutil.copy(folder / "vae/diffusion_pytorch_model.safetensors", folder / "text_encoder/model.safetensors")
    with pytest.raises(ModelError, match=r"weights of the text_encoder .* they lack"):
        Editor.from_pretrained(folder, device="cpu")


HARMLESS = {
    "text_encoder": {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "logit_scale": torch.tensor(4.6),
        "text_projection.weight": torch.zeros(4, 4),
        "vision_model.embeddings.class_embedding": torch.zeros(4),
    },
    "text_encoder_2": {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "logit_scale": torch.tensor(4.6),
        "visual_projection.weight": torch.zeros(4),
    },
    "text_encoder_3": {"lm_head.weight": torch.zeros(4, 4), "decoder.final_layer_norm.weight": torch.zeros(4)},
}


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3"])
def test_what_real_files_hold_besides_is_passed_over(tiny: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(folder_of(name, tiny), tmp_path / "model"))
    for part, cls in networks_in(folder).items():
        if part not in HARMLESS:
            continue
        (file,) = weight_files(folder / part)
        save_file({**HARMLESS[part], **load_file(file)}, file, {"format": "pt"})
        loaded = networks.load(cls, folder, part, torch.float32, None)
        own = getattr(built(name), part).state_dict()
        assert all(torch.equal(weight, own[key]) for key, weight in loaded.state_dict().items())


def test_an_autoencoder_with_the_old_names_of_its_attention_loads(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    (file,) = weight_files(folder / "vae")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(key: str) -> str:
        for new, former in old.items():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{former}.")
        return key

    weights = load_file(file)
    assert any(renamed(key) != key for key in weights)
    save_file({renamed(key): value for key, value in weights.items()}, file, {"format": "pt"})
    loaded = Editor.from_pretrained(folder, device="cpu").pipe.vae.state_dict()
    assert all(torch.equal(weight, weights[key]) for key, weight in loaded.items())


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_shards_are_read_together(tiny: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(folder_of(name, tiny), tmp_path / "model"))
    for part in networks_in(folder):
        shutil.rmtree(folder / part)
        getattr(built(name), part).save_pretrained(folder / part, max_shard_size="20KB")
    assert any(len(weight_files(folder / part)) > 1 for part in networks_in(folder))
    pipe = Editor.from_pretrained(folder, device="cpu").pipe
    for part in networks_in(folder):
        own = getattr(built(name), part).state_dict()
        assert all(torch.equal(weight, own[key]) for key, weight in getattr(pipe, part).state_dict().items())
    part = "text_encoder"
    first = weight_files(folder / part)[0]
    save_file(one_gone(load_file(first)), first, {"format": "pt"})
    with pytest.raises(ModelError, match=f"weights of the {part}.* they lack"):
        Editor.from_pretrained(folder, device="cpu")


def to_pickles(folder: Path, *parts: str) -> None:
    for part in parts:
        (file,) = weight_files(folder / part)
        stem = "pytorch_model" if part.startswith("text") else "diffusion_pytorch_model"
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()


def test_honest_pickles_of_weights_are_read_without_running_them(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    to_pickles(folder, "unet", "vae", "text_encoder")
    pipe = Editor.from_pretrained(folder, device="cpu").pipe
    with pytest.raises(ModelError, match="as pickles, which use_safetensors=True leaves unread"):
        Editor.from_pretrained(folder, device="cpu", use_safetensors=True)
    own = built("sd15").unet.state_dict()
    assert all(torch.equal(weight, own[key]) for key, weight in pipe.unet.state_dict().items())
    file = folder / "text_encoder" / "pytorch_model.bin"
    torch.save(half(torch.load(file, weights_only=True)), file)
    with pytest.raises(ModelError, match=r"weights of the text_encoder .* lack"):
        Editor.from_pretrained(folder, device="cpu")


class _Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("form", ["torch", "pickle", "shards", "oddly named"])
@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_pickles_that_run_code_are_refused(tiny: Path, tmp_path: Path, part: str, form: str) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    place, content = tmp_path / "ran", {"a.weight": torch.zeros(2), "evil": _Runs(tmp_path / "ran")}
    to_pickles(folder, part)
    (file,) = weight_files(folder / part)
    if form == "pickle":
        file.write_bytes(pickle.dumps(content))
    elif form == "torch":
        torch.save(content, file)
    else:
        name = "weights-00001-of-00001.bin" if form == "shards" else "weights.png"
        torch.save(content, file.with_name(name))
        file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": {"a.weight": name}}))
        file.unlink()
    with pytest.raises(
        ModelError, match="is a pickle that holds more than weights, or is damaged; it was not run"
    ) as e:
        Editor.from_pretrained(folder, device="cpu")
    assert "\n" not in str(e.value)
    assert not place.exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_damaged_weights_are_one_line(tiny: Path, tmp_path: Path, content: bytes) -> None:
    folder = Path(shutil.copytree(folder_of("sd15", tiny), tmp_path / "model"))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model.safetensors cannot be loaded"):
        Editor.from_pretrained(folder, device="cpu")
    to_pickles(folder, "unet")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(content)
    shutil.copy(folder_of("sd15", tiny) / "vae/diffusion_pytorch_model.safetensors", folder / "vae")
    with pytest.raises(ModelError) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)
