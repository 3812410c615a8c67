"""What a folder of a pipeline holds and lacks, judged by its file names and its index alone, without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from renoise.backbones import FAMILIES, PipelineBackbone
from renoise.reading import read_object

INDEX = "model_index.json"
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
# What PEFT's own `save_pretrained` writes.
PEFT_WEIGHTS, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"
# Parts that have no weights, by how their names begin, and the files of which each needs one. A tokenizer without its
# files loads all the same, and reads every prompt as the same unknown word.
_WITHOUT_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model"),
    "feature_extractor": ("preprocessor_config.json",),
    "image_processor": ("preprocessor_config.json",),
    "processor": ("preprocessor_config.json", "processor_config.json"),
}
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".bin")


def pipeline_class(folder: Path) -> str | None:
    """Return the name of the class in diffusers of a pipeline's folder; None if it is no such folder."""
    name = _index(folder).get("_class_name")
    # A pipeline with its own code names a file and a class.
    name = name[-1] if isinstance(name, list) and name else name
    return name if isinstance(name, str) else None


def family_in(folder: Path) -> type[PipelineBackbone] | None:
    """Return the family of a pipeline's folder; None if it is not supported, or holds no pipeline."""
    return FAMILIES.get(pipeline_class(folder) or "")


def absent_parts(folder: Path) -> tuple[str, ...]:
    """Return the parts that the pipeline's class may have and this folder lacks or can do without."""
    index = _index(folder)
    # The safety checker is never used. Without an image encoder, it alone uses the feature extractor.
    checker = [] if _component(index.get("image_encoder")) else ["safety_checker", "feature_extractor"]
    gone = any(name in index and not (folder / name).is_dir() for name in checker)
    return tuple(name for name, value in index.items() if value == [None, None] or (gone and name in checker))


def missing_parts(
    folder: Path, variant: str | None = None, given: Collection[str] = (), *, weights: bool = True
) -> tuple[str, ...]:
    """Return what a pipeline's folder lacks, in words; nothing if it is whole, as far as file names tell.

    Args:
        folder: a pipeline's folder, with a model_index.json.
        variant: the variant of the weights, such as "fp16"; parts without it are read as they are.
        given: the names of parts that come from elsewhere.
        weights: whether the weights have to be there.

    Examples:
        >>> missing_parts(Path("nowhere"))
        ('model_index.json',)
    """
    index = _index(folder)
    if not index:
        return (INDEX,)
    left_out = {*given, *absent_parts(folder)}
    wanted = [name for name, value in index.items() if _component(value) is not None and name not in left_out]
    return tuple(missing for name in wanted for missing in missing_of(folder, name, variant, weights=weights))


def missing_of(folder: Path, part: str, variant: str | None = None, *, weights: bool = True) -> tuple[str, ...]:
    """Return what a pipeline's folder lacks of one of its parts (see `missing_parts`)."""
    files = next((files for name, files in _WITHOUT_WEIGHTS.items() if part.startswith(name)), None)
    if files is not None:
        there = any((folder / part / file).is_file() for file in files)
        return _missing_beside(folder / part, part) if there else (f"{part}/{files[0]}",)
    missing = () if (folder / part / "config.json").is_file() else (f"{part}/config.json",)
    there = not weights or has_weights(folder / part) or (variant is not None and has_weights(folder / part, variant))
    return missing if there else (*missing, f"{part} weights")


def _missing_beside(folder: Path, part: str) -> tuple[str, ...]:
    """Return what a tokenizer's folder lacks besides its words: how they are put together, and its settings."""
    if not part.startswith("tokenizer"):
        return ()
    wanted = ["tokenizer_config.json"]
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        wanted.append("merges.txt")
    return tuple(f"{part}/{file}" for file in wanted if not (folder / file).is_file())


def has_weights(folder: Path, variant: str | None = None) -> bool:
    """Tell whether the folder of one network holds its weights, in one file or in all of several."""
    return bool(weight_files(folder, variant))


def weight_files(folder: Path, variant: str | None = None) -> tuple[Path, ...]:
    """Return the files with the weights of one network, of which diffusers reads the first kind that is there.

    Args:
        folder: the network's folder.
        variant: the variant of the weights; None means those without one.

    Returns:
        One file, or all of several; nothing if the weights are not whole.
    """
    infix = "" if variant is None else f".{variant}"
    for suffix in _SUFFIXES:
        for stem in _STEMS:
            if (folder / f"{stem}{infix}{suffix}").is_file():
                return (folder / f"{stem}{infix}{suffix}",)
            # Large weights come in shards, with a file that names them.
            for index in (folder / f"{stem}{suffix}.index{infix}.json", folder / f"{stem}{infix}{suffix}.index.json"):
                files = tuple(folder / shard for shard in _shards(index))
                if files and all(file.is_file() for file in files):
                    return files
    return ()


def _shards(index: Path) -> tuple[str, ...]:
    """Return the names of the files that an index of weights names; none if it is damaged."""
    names = read_object(index).get("weight_map")
    names = list(names.values()) if isinstance(names, dict) else []
    return tuple(dict.fromkeys(names)) if all(map(is_plain, names)) else ()


def is_plain(name: Any) -> bool:
    """Tell whether a name in an index is that of a file in the same folder.

    Examples:
        >>> is_plain("model-00001-of-00002.safetensors"), is_plain("../other.bin")
        (True, False)
    """
    return isinstance(name, str) and bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0")


def _component(value: Any) -> tuple[str, str] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(entry, str) for entry in value):
        return value[0], value[1]
    return None


def _index(folder: Path) -> dict[str, Any]:
    return read_object(folder / INDEX)
