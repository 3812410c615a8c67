"""LoRA weights: found by a folder's, a file's or a hub name, and loaded into a pipeline with the sampler they bring."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open

from renoise.errors import AdapterWarning, Argument, ModelError, RenoiseError
from renoise.loading import adapter_files, catalogue, dora, hub
from renoise.loading.adapter_files import AdapterFile
from renoise.loading.contents import recognise
from renoise.loading.folders import LORA_WEIGHTS, PEFT_SETTINGS
from renoise.loading.places import place_of
from renoise.loading.remarks import heard
from renoise.reading import read_object
from renoise.schedulers import SUPPORTED, exchanged, sampler_class

_SCHEDULER = "scheduler/scheduler_config.json"
# The first of the two factors of each layer's change, by the names that the libraries give it.
_FIRST_FACTOR = re.compile(r"(?:[._]lora[12]?[._]|\.lora_linear_layer\.)(A|down)\b")


@dataclass(frozen=True)
class Lora:
    """LoRA weights on this machine.

    Attributes:
        label: the name that they were asked for by.
        name: the adapter's name in the pipeline.
        weights: the file of the weights.
        folder: the folder that may hold a scheduler as well; None if a file was named.
        strength: the share of their change that is in force.
    """

    label: str
    name: str
    weights: Path
    folder: Path | None = None
    strength: float = 1.0


def find(wanted: Sequence[tuple[str, float]], options: Mapping[str, Any]) -> tuple[Lora, ...]:
    """Find the LoRA weights that are asked for.

    Args:
        wanted: folders, .safetensors files and hub names, each with its strength (see `lora_names.asked`).
        options: the options of the download, of which `cache_dir`, `token` and `local_files_only` count.

    Raises:
        ModelError: if weights cannot be found, or are not those of a LoRA.
    """
    found: list[Lora] = []
    for label, strength in wanted:
        folder, weights = _located(label, options)
        contents = recognise(weights)
        if not contents.adapter:
            raise ModelError(f"{weights} is no LoRA but {contents.what}", argument="lora")
        if contents.unread:
            problem = f"the LoRA {label} is or holds {contents.unread}, which is not read"
            raise ModelError(problem, argument="lora", remedy="take a LoRA, or a model that it is merged into")
        plain = re.sub(r"\W+", "-", Path(label).stem if folder is None else Path(label).name).strip("-") or "lora"
        taken = {lora.name for lora in found}
        name = next(n for n in (plain, *(f"{plain}-{i}" for i in range(2, len(found) + 3))) if n not in taken)
        found.append(Lora(label, name, weights, folder, strength))
    return tuple(found)


def apply(pipe: Any, loras: Sequence[Lora], *, with_scheduler: bool) -> None:
    """Load LoRA weights into a pipeline, all of them in force at their strengths.

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
    if len(loras) > 1 or any(lora.strength != 1.0 for lora in loras):
        pipe.set_adapters([lora.name for lora in loras], [lora.strength for lora in loras])


def _load(pipe: Any, lora: Lora) -> None:
    model = f"this model, a {type(pipe).__name__}"
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"a {type(pipe).__name__} takes no LoRA", remedy=("leave out ", Argument("lora", lora.label)))
    remedy = "take a LoRA that is made for it, or the LoRA's own base model"
    try:
        file = adapter_files.read(lora.weights, _parts(pipe))
        with heard() as remarks:
            _put(pipe, lora, file)
    except RenoiseError:
        raise
    except Exception as error:  # peft raises many sorts of errors, over many lines: each means that it does not fit
        problem = f"the LoRA {lora.label} does not fit {model} ({hub.shortened(error)[:120]})"
        raise ModelError(problem, argument="lora", remedy=remedy) from error
    names = _first_factors(lora.weights)
    # Weights for other networks than the pipeline's are passed over without an error.
    if not any(lora.name in adapters for adapters in pipe.get_list_adapters().values()):
        such = f" by the names that are read, but such as {names[0]}" if names else ""
        raise ModelError(f"the LoRA {lora.label} has no weights for {model}{such}", argument="lora", remedy=remedy)
    failed = dora.apply(_networks(pipe), lora.name, file.magnitudes)
    if failed:
        problem = f"the LoRA {lora.label} is a DoRA, and {failed} of its {len(file.magnitudes)} magnitudes fit no layer"
        raise ModelError(f"{problem} of {model}", argument="lora", remedy="take a LoRA without magnitudes")
    for remark in remarks:
        _warn(f"of the LoRA {lora.label} not everything is used: {remark}")
    fitting, layers = _adapted(pipe, lora.name), len(names)
    if fitting < layers:  # layers that the network does not have are passed over as well
        _warn(
            f"only {fitting} of the {layers} layers of the LoRA {lora.label} are in {model}: it may be made for another"
        )


def _warn(problem: str) -> None:
    warnings.warn(AdapterWarning(problem, argument="lora"), stacklevel=2)


def _put(pipe: Any, lora: Lora, file: AdapterFile) -> None:
    """Load the weights into the part of the pipeline that they are for."""
    if file.part is not None and file.weights is not None:
        if hasattr(pipe.components[file.part], "load_lora_adapter"):
            pipe.components[file.part].load_lora_adapter(
                dict(file.weights), prefix=None, adapter_name=lora.name, metadata=_metadata(file)
            )
            return
        pipe.load_lora_into_text_encoder(
            {f"{file.part}.{name}": weight for name, weight in file.weights.items()},
            network_alphas=None,
            text_encoder=pipe.components[file.part],
            prefix=file.part,
            adapter_name=lora.name,
            metadata=_metadata(file, f"{file.part}."),
        )
        return
    source = lora.weights.parent if file.weights is None else dict(file.weights)
    own = {"weight_name": lora.weights.name, "use_safetensors": True} if file.weights is None else {}
    pipe.load_lora_weights(source, adapter_name=lora.name, **own)


def _metadata(file: AdapterFile, prefix: str = "") -> dict[str, Any] | None:
    """Return PEFT's settings as diffusers takes them; None if it has to find them in the weights."""
    if file.settings is None or file.weights is None:
        return None
    layers = {name.rpartition(".lora_")[0] for name in file.weights if ".lora_" in name}
    return {f"{prefix}{name}": value for name, value in {**file.settings, "target_modules": sorted(layers)}.items()}


def _first_factors(weights: Path) -> list[str]:
    """Return the names of one weight for each layer that the LoRA in a file adapts; nothing if they are not counted."""
    with safe_open(weights, framework="pt") as file:
        return [key for key in file.keys() if _FIRST_FACTOR.search(key) is not None]  # noqa: SIM118 - no mapping


def _parts(pipe: Any) -> dict[str, torch.nn.Module]:
    """Return the parts of a pipeline that diffusers can adapt."""
    parts = {name: pipe.components.get(name) for name in getattr(pipe, "_lora_loadable_modules", ())}
    return {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}


def _networks(pipe: Any) -> list[torch.nn.Module]:
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def _adapted(pipe: Any, name: str) -> int:
    """Count the layers of the pipeline's networks that carry an adapter."""
    return sum(
        isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", ())
        for network in _networks(pipe)
        for module in network.modules()
    )


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
    folder = hub.snapshot("LoRA", name, (wanted, _SCHEDULER, PEFT_SETTINGS), options, answer.error)
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
