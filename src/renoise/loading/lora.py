"""LoRA weights: found by a folder's, a file's or a hub name, and loaded into a pipeline with the sampler they bring."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open

from renoise.errors import AdapterWarning, Argument, ConfigError, ModelError
from renoise.escaping import seen
from renoise.loading import catalogue, hub
from renoise.loading.contents import recognise
from renoise.loading.folders import LORA_WEIGHTS
from renoise.loading.places import place_of
from renoise.reading import read_object
from renoise.schedulers import SUPPORTED, exchanged, sampler_class

_SCHEDULER = "scheduler/scheduler_config.json"
# The first of the two factors of each layer's change, by the names that the libraries give it.
_FIRST_FACTOR = re.compile(r"[._]lora[._](A|down)\b")


@dataclass(frozen=True)
class Lora:
    """LoRA weights on this machine.

    Attributes:
        label: the name that they were asked for by.
        name: the adapter's name in the pipeline.
        weights: the file of the weights.
        folder: the folder that may hold a scheduler as well; None if a file was named.
    """

    label: str
    name: str
    weights: Path
    folder: Path | None = None


def find(wanted: Any, options: Mapping[str, Any]) -> tuple[Lora, ...]:
    """Find the LoRA weights that are asked for.

    Args:
        wanted: a folder, a .safetensors file or a hub name, or a list of them; None means no weights.
        options: the options of the download, of which `cache_dir`, `token` and `local_files_only` count.

    Raises:
        ModelError: if weights cannot be found, or are not those of a LoRA.
        ConfigError: if `wanted` is no name.
    """
    if wanted is None:
        return ()
    names = [wanted] if isinstance(wanted, (str, os.PathLike)) else wanted
    if not isinstance(names, Sequence) or not all(isinstance(name, (str, os.PathLike)) for name in names):
        raise ConfigError(
            Argument("lora"),
            f" must be a folder, a .safetensors file, a hub name, or a list of them, not {seen(wanted)}",
        )
    found: list[Lora] = []
    for label in map(os.fspath, names):
        folder, weights = _located(label, options)
        contents = recognise(weights)
        if not contents.adapter:
            raise ModelError(f"{weights} is no LoRA but {contents.what}", argument="lora")
        plain = re.sub(r"\W+", "-", Path(label).stem if folder is None else Path(label).name).strip("-") or "lora"
        taken = {lora.name for lora in found}
        name = next(n for n in (plain, *(f"{plain}-{i}" for i in range(2, len(found) + 3))) if n not in taken)
        found.append(Lora(label, name, weights, folder))
    return tuple(found)


def apply(pipe: Any, loras: Sequence[Lora], *, with_scheduler: bool) -> None:
    """Load LoRA weights into a pipeline, all of them at full strength.

    Args:
        pipe: the pipeline, which is changed.
        loras: the weights.
        with_scheduler: whether to take the scheduler that a folder of weights brings.

    Raises:
        ModelError: if they do not fit the pipeline.

    Warns:
        AdapterWarning: if they fit only in part, or are made for another sampler.
    """
    for lora in loras:
        _load(pipe, lora)
        if with_scheduler:
            _take_scheduler(pipe, lora)
    if len(loras) > 1:
        pipe.set_adapters([lora.name for lora in loras])


def _load(pipe: Any, lora: Lora) -> None:
    model = f"this model, a {type(pipe).__name__}"
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"a {type(pipe).__name__} takes no LoRA", remedy=("leave out ", Argument("lora", lora.label)))
    remedy = "take a LoRA that is made for it, or the LoRA's own base model"
    try:
        with _hushed():
            pipe.load_lora_weights(
                lora.weights.parent, weight_name=lora.weights.name, adapter_name=lora.name, use_safetensors=True
            )
    except Exception as error:  # peft raises many sorts of errors, over many lines: each means that it does not fit
        problem = f"the LoRA {lora.label} does not fit {model} ({hub.shortened(error)[:120]})"
        raise ModelError(problem, argument="lora", remedy=remedy) from error
    # Weights for other networks than the pipeline's are passed over without an error.
    if not any(lora.name in adapters for adapters in pipe.get_list_adapters().values()):
        raise ModelError(f"the LoRA {lora.label} has no weights for {model}", argument="lora", remedy=remedy)
    fitting, layers = _adapted(pipe, lora.name), _layers(lora.weights)
    if fitting < layers:  # layers that the network does not have are passed over as well
        problem = f"only {fitting} of the {layers} layers of the LoRA {lora.label} are in {model}"
        warnings.warn(AdapterWarning(f"{problem}: it may be made for another", argument="lora"), stacklevel=2)


def _layers(weights: Path) -> int:
    """Count the layers that the LoRA in a file adapts; 0 if its names are not counted."""
    with safe_open(weights, framework="pt") as file:
        return sum(_FIRST_FACTOR.search(key) is not None for key in file.keys())  # noqa: SIM118 - no mapping


def _adapted(pipe: Any, name: str) -> int:
    """Count the layers of the pipeline's networks that carry an adapter."""
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(
        isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", ())
        for network in networks
        for module in network.modules()
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep diffusers from logging, over many lines, what is raised as an error as well or is harmless."""
    from diffusers.utils import logging as diffusers

    level = diffusers.get_verbosity()
    diffusers.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        diffusers.set_verbosity(level)


def _take_scheduler(pipe: Any, lora: Lora) -> None:
    """Take the scheduler in the LoRA's folder, or warn if the catalogue knows that it needs another sampler."""
    import diffusers

    if lora.folder is not None and (lora.folder / _SCHEDULER).is_file():
        name = read_object(lora.folder / _SCHEDULER).get("_class_name")
        if name not in SUPPORTED:
            problem = f"{lora.folder / _SCHEDULER} names {name}, which cannot be inverted"
            raise ModelError(problem, remedy=("name another sampler with ", Argument("sampler")))
        exchanged(pipe.scheduler, name)  # raises an error if it does not suit the model
        pipe.scheduler = getattr(diffusers, name).from_pretrained(lora.folder, subfolder="scheduler")
        return
    entry = catalogue.find(lora.label)
    wanted = None if entry is None else entry.sampler
    if wanted is not None and type(pipe.scheduler).__name__ != sampler_class(wanted):
        remedy = ("give ", Argument("sampler", wanted))
        warning = AdapterWarning(f"{lora.label} is made for the sampler {wanted}", argument="sampler", remedy=remedy)
        warnings.warn(warning, stacklevel=2)


def _located(label: str, options: Mapping[str, Any]) -> tuple[Path | None, Path]:
    """Return the LoRA's folder, if it is one, and its file of weights."""
    path = place_of("LoRA", label)
    if path is None:
        return _downloaded(label, options)
    if path.is_file():
        return None, path
    return path, path / _weights_among((p.name for p in path.iterdir() if p.is_file()), label)


def _downloaded(name: str, options: Mapping[str, Any]) -> tuple[Path, Path]:
    # The model's other options, such as its revision, are about its own repository.
    options = {key: value for key, value in options.items() if key in ("cache_dir", "token", "local_files_only")}
    answer = hub.ask(name, options)
    wanted = "*.safetensors" if answer.error is not None else _weights_among(answer.files, name)
    folder = hub.snapshot("LoRA", name, (wanted, _SCHEDULER), options, answer.error)
    return folder, folder / _weights_among((p.name for p in folder.iterdir()), name)


def _weights_among(files: Iterable[str], label: str) -> str:
    """Return the file of weights among those at the top of a folder or repository."""
    names = sorted(name for name in files if "/" not in name)
    found = [name for name in names if name.endswith(".safetensors")]
    if LORA_WEIGHTS in found:
        return LORA_WEIGHTS
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
        problem = f"{label} has several files of weights ({listed})"
        raise ModelError(problem, argument="lora", remedy="download the one that you want and give that file")
    pickles = " (only pickles, which can run code when they are read)" if any(n.endswith(".bin") for n in names) else ""
    raise ModelError(
        f"{label} has no {LORA_WEIGHTS}{pickles}: it holds no LoRA weights that can be loaded", argument="lora"
    )
