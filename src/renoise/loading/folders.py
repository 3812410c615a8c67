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
    "tokenizer": ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"),
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
    return name[-1] if isinstance(name, list) and name else name if isinstance(name, str) else None


def family_in(folder: Path) -> type[PipelineBackbone] | None:
    """Return the family of a pipeline's folder; None if it is not supported, or holds no pipeline."""
    return FAMILIES.get(pipeline_class(folder) or "")


def component(folder: Path, part: str) -> tuple[str, str] | None:
    """Return (library, class) of a part of a pipeline; None if the pipeline does without it."""
    return _component(_index(folder).get(part))


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
        return () if any((folder / part / file).is_file() for file in files) else (f"{part}/{files[0]}",)
    missing = () if (folder / part / "config.json").is_file() else (f"{part}/config.json",)
    there = not weights or has_weights(folder / part) or (variant is not None and has_weights(folder / part, variant))
    return missing if there else (*missing, f"{part} weights")


def has_weights(folder: Path, variant: str | None = None) -> bool:
    """Tell whether the folder of one network holds its weights, in one file or in all of several."""
    infix = "" if variant is None else f".{variant}"
    for stem in _STEMS:
        for suffix in _SUFFIXES:
            if (folder / f"{stem}{infix}{suffix}").is_file():
                return True
            # Large weights come in shards, with a file that names them.
            for index in (folder / f"{stem}{suffix}.index{infix}.json", folder / f"{stem}{infix}{suffix}.index.json"):
                shards = set(read_object(index).get("weight_map", {}).values())
                if shards and all((folder / shard).is_file() for shard in shards):
                    return True
    return False


def _component(value: Any) -> tuple[str, str] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(entry, str) for entry in value):
        return value[0], value[1]
    return None


def _index(folder: Path) -> dict[str, Any]:
    return read_object(folder / INDEX)
