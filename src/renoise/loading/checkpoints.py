"""Reading a single file of weights into a pipeline, with a folder that says how the weights are put together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.errors import Argument, ModelError, RenoiseWarning
from renoise.escaping import shown
from renoise.loading import hub, networks
from renoise.loading.configurations import require_sensible
from renoise.loading.contents import Contents
from renoise.loading.folders import family_in, has_weights, missing_of, missing_parts
from renoise.loading.layouts import Layout
from renoise.loading.networks import Misfits
from renoise.loading.originals import require_fitting, unread
from renoise.loading.parts import classes_in
from renoise.loading.places import is_hub_name
from renoise.loading.training import Training

if TYPE_CHECKING:
    import torch

# The options of diffusers that say what a network predicts.
_SAMPLING = ("scheduler", "prediction_type")


def load(path: Path, contents: Contents, training: Training, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    """Load the pipeline in a single file.

    Args:
        path: a .safetensors file.
        contents: what the file holds (see `renoise.loading.contents.recognise`).
        training: what the file says about how its model was trained.
        dtype: the floating-point type of the networks.
        options: the options of diffusers' `from_single_file`. `config` is the folder, or the hub name, of a pipeline
            with the same layout, which says how the weights are put together; parts that the file lacks come from that
            folder. None means the pipeline that the layout is known by.

    Raises:
        ModelError: if the file is no model of a supported family, or its configuration or a part is not at hand.
    """
    import diffusers

    if contents.layout is None:
        raise ModelError(f"{path} is {contents.what}", argument="model", remedy=contents.advice)
    layout, given = contents.layout, dict(options)
    pipeline = getattr(diffusers, layout.family.pipelines[0])
    if "original_config" in given:  # diffusers reads it, and needs no folder
        return _whole(pipeline.from_single_file(str(path), dtype=dtype, **given), path)
    folder = _configuration(path, layout, given)
    require_fitting(path, contents.shapes, layout, _networks(folder, contents, given), folder)
    left = unread(contents.shapes, layout)
    if left:
        some = f"{', '.join(shown(name, 80) for name in left[:3])}{', ...' if len(left) > 3 else ''}"
        warnings.warn(
            RenoiseWarning(f"{path.name} holds {len(left)} tensors of no part of {layout.title}, not read: {some}"),
            stacklevel=2,
        )
    for part in contents.lacks:
        if part not in given:
            given[part] = _part(path, part, contents, folder, dtype)
    told = training.prediction or any(options.get(name) is not None for name in ("config", *_SAMPLING))
    if layout.guess and not told:
        remedy = ("if it is another, give the folder of its pipeline as ", Argument("config"))
        warnings.warn(RenoiseWarning(f"{path.name}: {layout.guess}", argument="config", remedy=remedy), stacklevel=2)
    given["config"] = str(folder)
    return _whole(pipeline.from_single_file(str(path), dtype=dtype, **given), path)


def _whole(pipe: Any, path: Path) -> Any:
    """Return a pipeline after it was checked that each of its weights has a value."""
    import torch
    from transformers import PreTrainedModel

    for part, network in pipe.components.items():
        if not isinstance(network, torch.nn.Module):
            continue
        if isinstance(network, PreTrainedModel):
            network.tie_weights()  # diffusers leaves out the second of two names for the same weights, as T5 has
        empty = tuple(name for name, weight in network.state_dict().items() if weight.is_meta)
        Misfits(missing=empty).refuse(part, path)
    return pipe


def _networks(folder: Path, contents: Contents, given: Mapping[str, Any]) -> dict[str, type]:
    """Return the classes of the networks that are loaded from the file itself, by their names in the pipeline."""
    import torch

    layout = contents.layout
    own = () if layout is None else (layout.family.components[0], *layout.parts)
    return {
        part: cls
        for part, cls in classes_in(folder, given).items()
        if part in own and part not in contents.lacks and issubclass(cls, torch.nn.Module)
    }


def _configuration(path: Path, layout: Layout, options: Mapping[str, Any]) -> Path:
    """Return the folder that says how the weights of a file are put together."""
    wanted = options.get("config")
    if wanted is not None and Path(wanted).expanduser().is_dir():
        folder = Path(wanted).expanduser()
    else:
        name = layout.reference if wanted is None else str(wanted)
        if not is_hub_name(name):
            raise ModelError(
                Argument("config", name), " is neither a folder here nor a model hub name of the form owner/name"
            )
        try:
            answer = hub.ask(name, options)
            folder = hub.snapshot("configuration", name, hub.CONFIGURATION, options, answer.error)
        except hub.NotAtHand as error:
            raise ModelError(
                f"{path} is a checkpoint of {layout.title} and does not say how it is put together: ",
                *error.problem,
                argument="config",
                remedy=f"give the folder of a pipeline with the same layout, in Python: {_with_config(path)}",
            ) from error
    missing = missing_parts(folder, given=options, weights=False)
    if missing:
        raise ModelError(
            Argument("config", str(folder)), f" is no whole pipeline folder: it lacks {', '.join(missing)}"
        )
    classes = classes_in(folder, options)
    require_sensible(folder, classes, weights=False)
    family = family_in(folder)
    if family is not layout.family:
        found = "no supported pipeline" if family is None else f"a pipeline of {family.title}"
        config = Argument("config", str(folder))
        raise ModelError(f"{path} is a checkpoint of {layout.title}, but ", config, f" is {found}")
    return folder


def _part(path: Path, part: str, contents: Contents, folder: Path, dtype: torch.dtype) -> Any:
    """Load a part that the file lacks from the folder of its configuration."""
    cls = classes_in(folder).get(part)
    if cls is None:  # that pipeline does without it
        return None
    variant = None if has_weights(folder / part) else "fp16"
    if missing_of(folder, part, variant):
        remedy = f"give the folder of a whole pipeline with the same layout, which has them: {_with_config(path)}"
        if part == "text_encoder_3" and contents.lacks == (part,):
            remedy += ", or do without it: text_encoder_3=None, tokenizer_3=None"
        raise ModelError(f"{path} is {contents.what} without {', '.join(contents.lacks)}", remedy=remedy)
    return networks.load(cls, folder, part, dtype, variant)


def _with_config(path: Path) -> str:
    return f"Editor.from_pretrained({str(path)!r}, config=FOLDER)"
