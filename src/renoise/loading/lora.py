"""LoRA weights: found by a folder's, a file's or a hub name, and loaded into a pipeline with the sampler they bring."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open

from renoise.errors import ConfigError, ModelError
from renoise.loading import catalogue, hub
from renoise.loading.checkpoints import ADAPTER, recognise
from renoise.loading.downloads import LORA_WEIGHTS, read_json
from renoise.schedulers import SUPPORTED, exchanged, sampler_class

log = logging.getLogger("renoise")

_SCHEDULER = "scheduler/scheduler_config.json"
# The first of the two factors of each layer's change, as the libraries call it.
_FIRST_FACTOR = re.compile(r"[._]lora[._](A|down)\b")


@dataclass(frozen=True)
class Lora:
    """LoRA weights on this machine.

    Attributes:
        label: what they were asked for by.
        name: of the adapter in the pipeline.
        weights: their file.
        folder: that may hold a scheduler as well; None if a file was named.
    """

    label: str
    name: str
    weights: Path
    folder: Path | None = None


def find(wanted: Any, options: Mapping[str, Any]) -> tuple[Lora, ...]:
    """The LoRA weights asked for.

    Args:
        wanted: a folder, a .safetensors file or a hub name, or several of them; None is none.
        options: of the hub: `cache_dir`, `token` and `local_files_only` count.

    Raises:
        ModelError: if weights cannot be found, or are none of a LoRA.
        ConfigError: if it is no name at all.
    """
    if wanted is None:
        return ()
    names = [wanted] if isinstance(wanted, (str, os.PathLike)) else wanted
    if not isinstance(names, Sequence) or not all(isinstance(name, (str, os.PathLike)) for name in names):
        raise ConfigError(f"lora must be a folder, a .safetensors file, a hub name, or a list of them, not {wanted!r}")
    found: list[Lora] = []
    for label in map(os.fspath, names):
        folder, weights = _located(label, options)
        kind = recognise(weights)
        if kind.what != ADAPTER:
            raise ModelError(f"{weights} is no LoRA: it is {kind.what}")
        plain = re.sub(r"\W+", "-", Path(label).stem if folder is None else Path(label).name).strip("-") or "lora"
        taken = {lora.name for lora in found}
        name = next(n for n in (plain, *(f"{plain}-{i}" for i in range(2, len(found) + 3))) if n not in taken)
        found.append(Lora(label, name, weights, folder))
    return tuple(found)


def apply(pipe: Any, loras: Sequence[Lora], *, with_scheduler: bool) -> None:
    """Load LoRA weights into a pipeline of one's own, all of them at full strength.

    Args:
        pipe: the pipeline, which is changed.
        loras: the weights.
        with_scheduler: take the scheduler that a folder of them brings.

    Raises:
        ModelError: if they do not fit the pipeline.
    """
    for lora in loras:
        _load(pipe, lora)
        if with_scheduler:
            _take_scheduler(pipe, lora)
    if len(loras) > 1:
        pipe.set_adapters([lora.name for lora in loras])


def _load(pipe: Any, lora: Lora) -> None:
    model = type(pipe).__name__
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"{model} takes no LoRA; leave out {lora.label}")
    try:
        with _hushed():
            pipe.load_lora_weights(
                lora.weights.parent, weight_name=lora.weights.name, adapter_name=lora.name, use_safetensors=True
            )
    except Exception as error:  # peft raises whatever it pleases, over many lines: all of it means that it does not fit
        raise ModelError(
            f"the LoRA {lora.label} does not fit this model, a {model}; take one made for it, or its own base model "
            f"({hub.shortened(error)[:120]})"
        ) from error
    # Weights for other networks than the pipeline's are passed over without an error.
    if not any(lora.name in adapters for adapters in pipe.get_list_adapters().values()):
        raise ModelError(
            f"the LoRA {lora.label} has no weights for this model, a {model}; take one made for it, or its own base "
            "model"
        )
    fitting, layers = _adapted(pipe, lora.name), _layers(lora.weights)
    if fitting < layers:  # nor is an error made of layers that the network does not have
        log.warning(
            "only %d of the %d layers of the LoRA %s are in this model, a %s: it may be made for another",
            fitting,
            layers,
            lora.label,
            model,
        )


def _layers(weights: Path) -> int:
    """How many layers the LoRA in a file adapts; 0 if it is of a kind that is counted otherwise."""
    with safe_open(weights, framework="pt") as file:
        return sum(_FIRST_FACTOR.search(key) is not None for key in file.keys())  # noqa: SIM118 - no mapping


def _adapted(pipe: Any, name: str) -> int:
    """How many layers of the pipeline's networks carry that adapter."""
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(
        isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", ())
        for network in networks
        for module in network.modules()
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep diffusers from logging, over many lines, what is raised as an error as well, or is as it should be."""
    from diffusers.utils import logging as diffusers

    level = diffusers.get_verbosity()
    diffusers.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        diffusers.set_verbosity(level)


def _take_scheduler(pipe: Any, lora: Lora) -> None:
    import diffusers

    if lora.folder is not None and (lora.folder / _SCHEDULER).is_file():
        name = read_json(lora.folder / _SCHEDULER).get("_class_name")
        if name not in SUPPORTED:
            raise ModelError(f"{lora.folder / _SCHEDULER} names {name}, which cannot be inverted; give a sampler")
        exchanged(pipe.scheduler, name)  # which says so if it is for another kind of model
        pipe.scheduler = getattr(diffusers, name).from_pretrained(lora.folder, subfolder="scheduler")
        return
    entry = catalogue.find(lora.label)
    wanted = None if entry is None else entry.sampler
    if wanted is not None and type(pipe.scheduler).__name__ != sampler_class(wanted):
        log.info("%s is made for the sampler %s; give --sampler %s", lora.label, wanted, wanted)


def _located(label: str, options: Mapping[str, Any]) -> tuple[Path | None, Path]:
    """The folder, if it is one, and the file of weights."""
    try:
        path = Path(label).expanduser()
        is_folder, is_file = bool(label) and path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"LoRA {label[:80]!r} is no usable path: {error}") from error
    if is_file:
        return None, path
    if is_folder:
        return path, path / _weights_among((p.name for p in path.iterdir() if p.is_file()), label)
    if label.count("/") != 1 or label.startswith((".", "~", "/")):
        raise ModelError(
            f"LoRA {label!r} is not known: it is neither a folder nor a .safetensors file here, and a model hub name "
            "has the form owner/name"
        )
    return _downloaded(label, options)


def _downloaded(name: str, options: Mapping[str, Any]) -> tuple[Path, Path]:
    # Of the model's options those that are of its own repository say nothing of this one.
    options = {key: value for key, value in options.items() if key in ("cache_dir", "token", "local_files_only")}
    answer = hub.ask(name, options)
    wanted = "*.safetensors" if answer.error is not None else _weights_among(answer.files, name)
    folder = hub.snapshot("LoRA", name, (wanted, _SCHEDULER), options, answer.error)
    return folder, folder / _weights_among((p.name for p in folder.iterdir()), name)


def _weights_among(files: Iterable[str], label: str) -> str:
    """The file of weights among those at the top of a folder or repository."""
    names = sorted(name for name in files if "/" not in name)
    found = [name for name in names if name.endswith(".safetensors")]
    if LORA_WEIGHTS in found:
        return LORA_WEIGHTS
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
        raise ModelError(f"{label} has several files of weights ({listed}): download the one meant and give that file")
    pickles = " (only pickles, which can run code as they are read)" if any(n.endswith(".bin") for n in names) else ""
    raise ModelError(f"{label} has no {LORA_WEIGHTS}{pickles}: it holds no LoRA weights that can be loaded")
