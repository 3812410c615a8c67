"""CLIP and DINO: what they compute, and which folders are none of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from renoise import ModelError, images
from renoise.evaluation.judges import Clip, Dino, Judges, structure_distance


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Clip:
    return Clip(clip_folder, "cpu")


@pytest.fixture(scope="module")
def dino(dino_folder: Path) -> Dino:
    return Dino(dino_folder, "cpu")


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(0))


# CLIP.


def test_similarity_is_a_hundred_times_the_cosine(clip: Clip, clip_folder: Path, picture: Image.Image) -> None:
    import transformers
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(clip_folder).eval()
    # The one that does without torchvision has had two names.
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    processor = kind(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    words = AutoTokenizer.from_pretrained(clip_folder)(["a cat in the field"], return_tensors="pt")
    with torch.no_grad():
        found = model(**processor(picture, return_tensors="pt"), **words)
    cosine = float((found.image_embeds * found.text_embeds).sum())
    similarity = clip.similarity(images.to_tensor([picture]), ["a cat in the field"])
    assert similarity.tolist() == pytest.approx([100.0 * cosine], abs=1e-3)


def test_similarity_is_each_images_with_its_own_text(clip: Clip, pixels: torch.Tensor) -> None:
    texts = ["a cat", "a dog in the field", "a lion"]
    together = clip.similarity(pixels, texts)
    alone = torch.cat([clip.similarity(pixels[i : i + 1], [text]) for i, text in enumerate(texts)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)
    assert len(set(together.tolist())) == 3
    assert float(together.abs().max()) <= 100.0


def test_a_text_that_is_too_long_is_cut_off(clip: Clip, pixels: torch.Tensor) -> None:
    start = "a cat " * 30
    first, second = (float(clip.similarity(pixels[:1], [start + end])) for end in ("red", "blue"))
    assert first == second


# DINO.


def test_self_similarity_is_that_of_the_last_layers_keys(dino: Dino, dino_folder: Path, picture: Image.Image) -> None:
    from transformers import ViTModel

    square = images.to_tensor([picture.resize((32, 32))])
    model = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False).eval()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.no_grad():
        hidden = model((square - mean) / std, output_hidden_states=True).hidden_states[-2]
        parts = dict(model.named_modules())
        names = ("2.attention.k_proj", "2.attention.attention.key")
        keys = next(part for name, part in parts.items() if name.endswith(names))
        before = next(part for name, part in parts.items() if name.endswith("2.layernorm_before"))
        k = keys(before(hidden))[0]
    lengths = k.norm(dim=1)
    expected = (k @ k.T) / (lengths[:, None] * lengths[None])
    found = dino.self_similarity(square)
    assert found.shape == (1, 17, 17)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


def test_structure_distance_by_hand() -> None:
    a = torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    b = torch.tensor([[[1.0, 0.1], [0.1, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(structure_distance(a, b), torch.tensor([2 * 0.4**2 / 4, 0.0]))


def test_images_of_any_proportions_keep_theirs(dino: Dino, pixels: torch.Tensor) -> None:
    # 48 x 40 becomes 40 x 32 (38.4 x 32 in whole patches of 8), and a class token comes first.
    found = dino.self_similarity(pixels)
    assert found.shape == (3, 1 + 5 * 4, 1 + 5 * 4)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), torch.ones(3, 21))
    torch.testing.assert_close(found[1:2], dino.self_similarity(pixels[1:2]), atol=1e-5, rtol=0)
    assert float(structure_distance(found[:1], found[1:2])) > 1e-4


# Folders.


def test_both_or_none(clip_folder: Path, dino_folder: Path) -> None:
    assert Judges.load(None, None) == Judges()
    assert Judges().identities == {}
    both = Judges.load(clip_folder, dino_folder, "cpu")
    assert both.identities["clip"].startswith("ViT 2x16/8 ")
    assert both.identities["dino"].startswith("ViT 3x16/8 ")


def test_an_identity_is_that_of_the_weights(clip_folder: Path, dino_folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(dino_folder, tmp_path / "moved"))
    assert Dino(moved, "cpu").identity == Dino(dino_folder, "cpu").identity
    weights = load_file(moved / "model.safetensors")
    save_file({name: 2.0 * w for name, w in weights.items()}, moved / "model.safetensors", metadata={"format": "pt"})
    assert Dino(moved, "cpu").identity != Dino(dino_folder, "cpu").identity


def test_colours_are_standardised_as_the_folder_says(dino_folder: Path, tmp_path: Path, pixels: torch.Tensor) -> None:
    own = Path(shutil.copytree(dino_folder, tmp_path / "own"))
    told = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (own / "preprocessor_config.json").write_text(json.dumps(told))
    same = Dino(own, "cpu").self_similarity(pixels)
    torch.testing.assert_close(same, Dino(dino_folder, "cpu").self_similarity(pixels))
    (own / "preprocessor_config.json").write_text(json.dumps({**told, "image_mean": [0.0, 0.0, 0.0]}))
    assert not torch.allclose(Dino(own, "cpu").self_similarity(pixels), same, atol=1e-3)


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.popitem()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "no readable config.json"),
    "no config": (lambda f: (f / "config.json").unlink(), "no readable config.json"),
    "damaged config": (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
    "a pipe for a config": (lambda f: _pipe(f / "config.json"), "is a pipe or a device"),
    "a deep config": (lambda f: (f / "config.json").write_text("[" * 100_000), "nested deeper"),
    "a list of colours": (lambda f: (f / "preprocessor_config.json").write_text("[1]"), "cannot be loaded"),
    "a list for a config": (lambda f: (f / "config.json").write_text("[]"), "of type None"),
    "another model": (lambda f: (f / "config.json").write_text('{"model_type": "dinov2"}'), "of type 'dinov2'"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded"),
    "a pointer": (lambda f: (f / "model.safetensors").write_text("version https://git-lfs"), "cannot be loaded"),
    "too few weights": (without_a_weight, "lacks weights, first "),
    "damaged colours": (lambda f: (f / "preprocessor_config.json").write_text("{"), "cannot be loaded"),
    "two colours": (
        lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5]}'),
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
@pytest.mark.parametrize("kind", [Clip, Dino])
def test_folders_that_are_refused(
    case: str, kind: type[Clip | Dino], clip_folder: Path, dino_folder: Path, tmp_path: Path
) -> None:
    spoil, words = SPOILT[case]
    folder = Path(shutil.copytree(clip_folder if kind is Clip else dino_folder, tmp_path / "model"))
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        kind(folder, "cpu")
    assert words in str(caught.value)
    assert "hf download " in str(caught.value)


def test_each_is_not_the_other(clip_folder: Path, dino_folder: Path) -> None:
    with pytest.raises(ModelError, match="no CLIP model: it holds a model of type 'vit', not 'clip'"):
        Clip(dino_folder, "cpu")
    with pytest.raises(ModelError, match="no DINO model: it holds a model of type 'clip', not 'vit'"):
        Dino(clip_folder, "cpu")


@pytest.mark.parametrize("names", [["tokenizer.json"], ["vocab.json", "merges.txt"]])
def test_a_clip_model_wants_its_tokenizer(names: list[str], clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "model"))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        Clip(folder, "cpu")
    for name in names:
        (folder / name).write_text("not a tokenizer")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Clip(folder, "cpu")
