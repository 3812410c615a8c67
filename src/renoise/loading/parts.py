"""The classes of a pipeline's parts: those of diffusers and transformers that its family knows, and nothing else.

A pipeline's index names a library and a class for each part, and importing a library runs its code. So nothing is
imported here because a file names it: classes are looked up in the two libraries, and must be of the kind that the
pipeline takes.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from renoise.backbones import FAMILIES, PipelineBackbone, refusal
from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.folders import INDEX
from renoise.reading import read_json

_REMEDY = "take a diffusers pipeline of a supported family; code that comes with a model is never run"
REFINER = "an SDXL refiner, which only finishes images"
# Options of diffusers that load code.
_CODE = ("trust_remote_code", "custom_pipeline")
# Parts other than networks, by how their names begin, and the classes in transformers that each must be made from.
_KINDS = {
    "tokenizer": ("PreTrainedTokenizerBase",),
    "feature_extractor": ("ImageProcessingMixin", "FeatureExtractionMixin"),
    "image_processor": ("ImageProcessingMixin", "FeatureExtractionMixin"),
}
# The multilingual T5 is T5 with other words.
_TWINS = {"MT5EncoderModel": "T5EncoderModel"}
# Autoencoders that stand in for the one that pipelines name.
_AUTOENCODERS = ("AutoencoderKL", "AsymmetricAutoencoderKL", "AutoencoderTiny")


def refuse_code(options: Mapping[str, Any]) -> None:
    """Refuse the options of diffusers that run code from elsewhere.

    Raises:
        ModelError: if one of them is given.
    """
    for name in _CODE:
        if options.get(name):
            raise ModelError(
                f"{name} runs code that comes with a model, which is never done here",
                argument=name,
                remedy="load the pipeline with diffusers in Python, and give it to renoise.Editor",
            )


def classes_in(folder: Path, given: Collection[str] = ()) -> dict[str, type]:
    """Return the class of each part that the index of a pipeline's folder names; nothing in the folder is run.

    Args:
        folder: a pipeline's folder.
        given: the names of parts that come from elsewhere.

    Raises:
        ModelError: if the index is damaged, if the pipeline is of no supported family, or if a part is of a class that
            the pipeline does not take.
    """
    index, path = _index(folder), folder / INDEX
    pipeline, family = _pipeline(index, path)
    if index.get("requires_aesthetics_score"):
        raise ModelError(f"{folder} is {REFINER}", argument="model", remedy="load the base model")
    takes = _hints(pipeline)
    found = {}
    for part, value in index.items():
        if part.startswith("_") or part in given or not isinstance(value, (list, tuple)):
            continue
        if all(entry is None for entry in value) or all(isinstance(entry, (int, float)) for entry in value):
            continue  # a part that is absent, or a setting of the pipeline's own
        if len(value) != 2 or not all(isinstance(entry, str) for entry in value):
            raise ModelError(
                f"{path} is damaged: {shown(part, 60)} must be a library and a class, not {shown(value, 120)}",
                argument="model",
                remedy=_REMEDY,
            )
        cls = _class_of(part, value[0], value[1], takes, path)
        if cls is not None and part in takes:
            found[part] = cls
    _require_networks(family, {**dict.fromkeys(given), **found}, path)
    _require_encoders(pipeline, family, {**index, **dict.fromkeys(given)}, path)
    return found


def _index(folder: Path) -> dict[str, Any]:
    index = read_json(folder / INDEX, ModelError)
    if not isinstance(index, dict):
        raise ModelError(f"{folder / INDEX} is damaged: it must hold an object", argument="model", remedy=_REMEDY)
    return index


def _pipeline(index: Mapping[str, Any], path: Path) -> tuple[type, type[PipelineBackbone]]:
    """Return the class of the pipeline in diffusers, and its family."""
    import diffusers

    name = index.get("_class_name")
    if isinstance(name, list):
        raise ModelError(
            f"{path} names code that comes with it as the pipeline ({shown(name, 120)})",
            argument="model",
            remedy=_REMEDY,
        )
    if not isinstance(name, str) or not name.isidentifier():
        raise ModelError(f"{path} names no pipeline, but {shown(name, 120)}", argument="model", remedy=_REMEDY)
    pipeline = getattr(diffusers, name, None)
    if name in FAMILIES:
        _require_libraries(pipeline, f"{path} holds a {name}")
    known = isinstance(pipeline, type) and issubclass(pipeline, diffusers.DiffusionPipeline)
    bases = pipeline.__mro__ if known and isinstance(pipeline, type) else ()
    family = next((FAMILIES[base.__name__] for base in bases if base.__name__ in FAMILIES), None)
    if family is None or not isinstance(pipeline, type):
        raise refusal([name, *(base.__name__ for base in bases)])
    return pipeline, family


def _hints(pipeline: type) -> dict[str, tuple[type, ...]]:
    """Return the classes that a pipeline's class takes for each of its parts, as it declares them."""
    hints = typing.get_type_hints(pipeline.__init__)  # type: ignore[misc] # the signature is what is looked at
    return {
        name: tuple(one for one in (typing.get_args(hint) or (hint,)) if isinstance(one, type))
        for name, hint in hints.items()
    }


def _class_of(part: str, library: str, name: str, takes: Mapping[str, tuple[type, ...]], path: Path) -> type | None:
    """Return the class of a part; None for a reader of images that transformers has renamed, which diffusers knows."""
    import diffusers
    import transformers

    namespace = {
        "diffusers": diffusers,
        "transformers": transformers,
        # The checker of images is named by the pipeline's own module.
        "stable_diffusion": diffusers.pipelines.stable_diffusion if part == "safety_checker" else None,
        # ChatGLM and its tokenizer are in no other library; without sentencepiece they are in none.
        "kolors": getattr(diffusers.pipelines, "kolors", None) if part in ("text_encoder", "tokenizer") else None,
    }.get(library)
    where = f"{path} names {shown(library, 60)}.{shown(name, 60)} as {shown(part, 60)}"
    if namespace is None:
        problem = f"{where}, which is no class of diffusers or transformers and is not imported"
        raise ModelError(problem, argument="model", remedy=_REMEDY)
    cls = getattr(namespace, name, None) if name.isidentifier() and not name.startswith("_") else None
    _require_libraries(cls, where)
    kinds = next((kinds for beginning, kinds in _KINDS.items() if part.startswith(beginning)), None)
    if cls is None and library == "transformers" and part in takes and kinds is not None and "Image" in kinds[0]:
        return None
    if not isinstance(cls, type) or not _fits(cls, part, kinds, takes.get(part, ())):
        wanted = " or ".join(one.__name__ for one in takes.get(part, ()) if one is not type(None))
        problem = f"{where}, which it cannot be" + (f": {wanted} is expected" if wanted else "")
        raise ModelError(problem, argument="model", remedy=_REMEDY)
    return cls


def _require_libraries(cls: Any, where: str) -> None:
    """Refuse a class in whose place the libraries put something, because it needs others that are not there."""
    lacking = [name for name in getattr(cls, "_backends", ()) if find_spec(name) is None]
    if lacking:
        remedy = f"run: pip install {' '.join(lacking)}"
        raise ModelError(f"{where}, which needs {' and '.join(lacking)}", argument="model", remedy=remedy)


def _fits(cls: type, part: str, kinds: tuple[str, ...] | None, takes: tuple[type, ...]) -> bool:
    import diffusers
    import transformers

    if part.startswith("scheduler"):
        return issubclass(cls, diffusers.SchedulerMixin)
    if kinds is not None:
        # Where a pipeline takes any processor, the tokenizer may be part of one of texts and images.
        processors = ("ProcessorMixin",) if transformers.AutoProcessor in takes else ()
        return issubclass(cls, tuple(getattr(transformers, kind) for kind in (*kinds, *processors)))
    if not issubclass(cls, (diffusers.ModelMixin, transformers.PreTrainedModel)):
        return False
    if any(one.__name__ in _AUTOENCODERS for one in takes):
        return cls.__name__ in _AUTOENCODERS
    # Networks of one architecture, such as CLIP's text encoder with and without its projection, are in one module.
    twin = _TWINS.get(cls.__name__)
    return not takes or any(
        issubclass(cls, one) or cls.__module__ == one.__module__ or one.__name__ == twin for one in takes
    )


def _require_networks(family: type[PipelineBackbone], there: Collection[str], path: Path) -> None:
    """Refuse a pipeline without its network or its autoencoder; text encoders may be done without."""
    for part in family.components:
        if part not in there and not part.startswith(("text_encoder", "tokenizer")):
            raise ModelError(
                f"{path} names no {part}, and a pipeline of {family.title} cannot work without it",
                argument="model",
                remedy=f"take the whole pipeline, or give {part}=... in Python",
            )
    if "scheduler" not in there:
        raise ModelError(f"{path} names no scheduler", argument="model", remedy="take the whole pipeline")


def _require_encoders(pipeline: type, family: type[PipelineBackbone], there: Collection[str], path: Path) -> None:
    """Refuse a pipeline that says nothing of a text encoder without which its class cannot be made."""
    taken = inspect.signature(pipeline).parameters
    needed = [part for part in family.encoders if part in taken and taken[part].default is inspect.Parameter.empty]
    missing = [part for part in needed if part not in there]
    if missing:
        given = " and ".join(f"{part}=..." for part in missing)
        raise ModelError(
            f"{path} names no {' and no '.join(missing)}, with which {family.title} reads prompts",
            argument="model",
            remedy=f"give {given} in Python, and save the pipeline as a folder for the command",
        )
