"""LoRA weights: found by a folder's, a file's or a hub name, and loaded into a pipeline with the sampler they bring."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renoise.errors import AdapterWarning, Argument, ModelError, RenoiseError
from renoise.escaping import shown
from renoise.loading import adapter_files, adapter_parts, applying, hub
from renoise.loading.adapter_checks import advice, first_factors
from renoise.loading.adapter_files import AdapterFile
from renoise.loading.contents import recognise
from renoise.loading.folders import LORA_WEIGHTS, PEFT_SETTINGS
from renoise.loading.places import place_of
from renoise.loading.remarks import heard
from renoise.reading import read_object
from renoise.schedulers import SUPPORTED, exchanged

_SCHEDULER = "scheduler/scheduler_config.json"


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

    @property
    def scheduler(self) -> Path | None:
        """The file of the scheduler that its folder brings; None if it brings none."""
        path = None if self.folder is None else self.folder / _SCHEDULER
        return path if path is not None and path.is_file() else None


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
        ModelError: if they do not fit the pipeline; none of them is then on it.

    Warns:
        AdapterWarning: if they fit only in part.
    """
    try:
        for lora in loras:
            _load(pipe, lora)
    except Exception:
        for lora in loras:
            adapter_parts.remove(pipe, lora.name)
        raise
    for lora in loras if with_scheduler else ():
        _take_scheduler(pipe, lora)
    if len(loras) > 1 or any(lora.strength != 1.0 for lora in loras):
        pipe.set_adapters([lora.name for lora in loras], [lora.strength for lora in loras])


def _load(pipe: Any, lora: Lora) -> None:
    model = adapter_parts.model_in_words(pipe)
    if not hasattr(pipe, "load_lora_weights"):
        problem = f"a {type(pipe).__name__} takes no LoRA: diffusers loads none into it"
        raise ModelError(problem, remedy=("leave out ", Argument("lora", lora.label)))
    remedy = advice({})
    try:
        file = adapter_files.read(lora.weights, pipe)
        remedy = file.advice
        with heard() as remarks:
            _put(pipe, lora, file)
        carrying = adapter_parts.carrying(pipe, lora.name)
        if not carrying:  # weights for other networks than the pipeline's are passed over without an error
            raise _nothing_for(model, lora, file)
    except RenoiseError:
        raise
    except Exception as error:  # peft raises many sorts of errors, over many lines: each means that it does not fit
        problem = f"the LoRA {lora.label} does not fit {model} ({hub.shortened(error)[:120]})"
        raise ModelError(problem, argument="lora", remedy=remedy) from error
    # Of a file whose layers are all known, what diffusers misses is the other adapters' or the stand-ins'.
    for remark in (*file.remarks, *(remarks if file.fit is None else ())):
        _warn(f"of the LoRA {lora.label} not everything is used: {shown(remark, 300)}")
    missing = () if file.fit is None else file.fit.missing
    if file.fit is None:
        used, layers = sum(map(len, carrying.values())), len(first_factors(file.names))
    else:
        used = len({one.name for one in file.fit.placed.values()})
        layers = used + len(missing)
    if used < layers:  # layers that the network does not have are passed over as well
        such = f", and not {shown(missing[0], 200)}" if missing else ""
        _warn(
            f"only {used} of the {layers} layers of the LoRA {lora.label} are in {model}{such}: "
            "it may be made for another"
        )


def _nothing_for(model: str, lora: Lora, file: AdapterFile) -> ModelError:
    names = first_factors(file.names) or list(file.names)
    such = f" by the names that are read, but such as {shown(names[0], 200)}" if names else ""
    return ModelError(f"the LoRA {lora.label} has no weights for {model}{such}", argument="lora", remedy=file.advice)


def _warn(problem: str) -> None:
    warnings.warn(AdapterWarning(problem, argument="lora"), stacklevel=2)


def _put(pipe: Any, lora: Lora, file: AdapterFile) -> None:
    """Load the weights into the parts of the pipeline that they are for."""
    if file.fit is not None:
        applying.apply(pipe, lora.label, lora.name, file.fit)
    elif file.part is not None and file.weights is not None:
        adapter_parts.load(pipe, file.part, file.weights, lora.name, _metadata(file))
    else:
        own = {"weight_name": lora.weights.name, "use_safetensors": True}
        pipe.load_lora_weights(lora.weights.parent, adapter_name=lora.name, **own)
    adapter_parts.give_magnitudes(pipe, lora.name, file.magnitudes)


def _metadata(file: AdapterFile) -> dict[str, Any] | None:
    """Return PEFT's settings as diffusers takes them; None if it has to find them in the weights."""
    if file.settings is None or file.weights is None:
        return None
    layers = {name.rpartition(".lora_")[0] for name in file.weights if ".lora_" in name}
    return {**file.settings, "target_modules": sorted(layers)}


def _take_scheduler(pipe: Any, lora: Lora) -> None:
    """Take the scheduler in the LoRA's folder, if there is one."""
    import diffusers

    if lora.scheduler is None:
        return
    name = read_object(lora.scheduler).get("_class_name")
    if name not in SUPPORTED:
        problem = f"{lora.scheduler} names {name}, which cannot be inverted"
        raise ModelError(problem, remedy=("name another sampler with ", Argument("sampler")))
    exchanged(pipe.scheduler, name)  # raises an error if it does not suit the model
    pipe.scheduler = getattr(diffusers, name).from_pretrained(lora.folder, subfolder="scheduler")


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
