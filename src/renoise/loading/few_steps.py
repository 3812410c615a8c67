"""Models of a few steps whose files do not say so: sampled as a named preset has it, or as a name tells.

A name decides nothing without a line that says what was assumed. What is asked for goes before it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from renoise.backbones import PipelineBackbone, family_of
from renoise.errors import AdapterWarning, Argument, AssumedSamplingWarning, RenoiseWarning
from renoise.escaping import shown
from renoise.loading import catalogue
from renoise.loading.contents import recognise
from renoise.loading.lora import Lora
from renoise.loading.training import Training, titles_in
from renoise.named_presets import NAMED, NamedPreset, hold

# How names say which family a model is of.
_FAMILIES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        family: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE)
        for family, words in {
            "sd": r"sd[_-]?v?[12](?:[._-]?\d)?",
            "sdxl": r"(?:sd[_-]?)?xl",
            "sd3": r"sd[_-]?v?3(?:[._-]?5)?",
            "flux": "flux",
            "qwen-image": "qwen",
        }.items()
    }
)
_STEPS = re.compile(r"(?<!\d)(\d{1,3})[ _.-]?steps?(?![a-z])", re.IGNORECASE)
# More of a title than this tells nothing.
_LONGEST = 300
# As much of a name as its reader needs to recognise it.
_SHOWN = 80


@dataclass(frozen=True)
class Asked:
    """What was asked for of a model's sampling.

    Attributes:
        preset: a named preset.
        sampler: the class of a sampler.
        spacing: a spacing of timesteps.
        scheduler: whether a scheduler came ready-made.
    """

    preset: NamedPreset | None = None
    sampler: str | None = None
    spacing: str | None = None
    scheduler: bool = False


@dataclass(frozen=True)
class Called:
    """What a model or an adapter is called.

    Attributes:
        what: the model or the adapter, in words.
        titles: its names, those that count most first.
        preset: the preset that the catalogue knows it to need.
    """

    what: str
    titles: Sequence[str]
    preset: NamedPreset | None = None


def told_by(name: str, family: type[PipelineBackbone]) -> tuple[NamedPreset, ...]:
    """Return the presets that a title or a file's name tells for a model of a family, by whole words.

    A name that says another family or several numbers of steps tells none.

    Examples:
        >>> from renoise.backbones import families_by_name
        >>> [preset.name for preset in told_by("sdxl_lightning_4step_lora", families_by_name()["sdxl"])]
        ['sdxl-lightning-4']
        >>> told_by("lightningstrike_4step", families_by_name()["sdxl"])
        ()
    """
    text = name[:_LONGEST]
    said = {short for short, pattern in _FAMILIES.items() if pattern.search(text)}
    counts = {int(count) for count in _STEPS.findall(text)}
    if (said and family.name not in said) or len(counts) > 1:
        return ()

    def says(words: str) -> bool:
        joined = "[ _.-]?".join(map(re.escape, words.split()))
        return re.search(rf"(?<![a-z]){joined}(?![a-z])", text, re.IGNORECASE) is not None

    found = [
        preset
        for preset in NAMED.values()
        if family.name in preset.families
        and preset.words
        and all(map(says, preset.words))
        and not any(map(says, preset.never))
        and (preset.steps in counts or not (preset.counted or counts))
    ]
    # "Hyper" and "UNet" tell more than "Hyper" alone.
    most = max((len(preset.words) for preset in found), default=0)
    return tuple(preset for preset in found if len(preset.words) == most)


def names_of_loras(loras: Iterable[Lora]) -> list[Called]:
    """Return what the LoRAs are called that add to a model and bring no scheduler, which would say it itself."""
    found = []
    for lora in loras:
        if lora.strength <= 0.0 or lora.scheduler is not None:
            continue
        metadata = titles_in(recognise(lora.weights).metadata)
        places = [lora.weights.stem] if lora.folder is None else [lora.weights.stem, Path(lora.label).name]
        entry = catalogue.find(lora.label)
        known = None if entry is None or entry.named is None else NAMED[entry.named]
        found.append(Called(f"the LoRA {shown(lora.label, _SHOWN)}", (*metadata, *places), known))
    return found


def names_of_model(name: str, path: Path | None, metadata: Mapping[str, str]) -> list[Called]:
    """Return what a single file is called, or a model that the catalogue knows by its name."""
    if path is not None:
        return [Called(f"the file {shown(path.name, _SHOWN)}", (*titles_in(metadata), path.stem))]
    entry = catalogue.find(name)
    known = None if entry is None or entry.named is None else NAMED[entry.named]
    return [] if known is None else [Called(f"the model {name}", (), known)]


def settle(pipe: Any, asked: Asked, loras: Sequence[Lora], model: Sequence[Called], training: Training | None) -> bool:
    """Sample a pipeline as the named preset has it that is asked for, or that a name tells.

    Args:
        pipe: the pipeline, whose scheduler is exchanged.
        asked: what was asked for, which goes before what names tell.
        loras: the LoRAs in the pipeline.
        model: what the model is called.
        training: what its single file says of its training, which goes before its name.

    Returns:
        Whether there is such a preset.

    Raises:
        SchedulerError: if its sampler is made for another kind of model.

    Warns:
        AssumedSamplingWarning: if a name decided, or if names contradict each other.
        RenoiseWarning: if another sampler or spacing was asked for than the preset's.
    """
    family = family_of(pipe)
    if asked.preset is not None:
        _sample(pipe, asked.preset, asked)
        for problem in _otherwise(pipe, asked.preset, asked):
            warnings.warn(RenoiseWarning(problem, argument="preset"), stacklevel=2)
        _say_strength(asked.preset, loras, family)
        return True
    if family is None:
        return False
    named = [*((one, None) for one in names_of_loras(loras)), *((one, training) for one in model)]
    told = {
        one.what: (title, presets)
        for one, trained in named
        for title, presets in [_told(one, family, trained)]
        if presets
    }
    distinct = {preset.name for _, presets in told.values() for preset in presets}
    if len(distinct) != 1:
        if distinct:
            problem = f"{' and '.join(told)} may be {' or '.join(sorted(distinct))}: nothing is assumed"
            remedy = ("say which with ", Argument("preset"))
            warnings.warn(AssumedSamplingWarning(problem, argument="preset", remedy=remedy), stacklevel=2)
        return False
    (preset,) = (NAMED[name] for name in distinct)
    _sample(pipe, preset, asked)
    _say(pipe, preset, asked, told)
    _say_strength(preset, loras, family)
    return True


def _told(
    called: Called, family: type[PipelineBackbone], training: Training | None = None
) -> tuple[str, tuple[NamedPreset, ...]]:
    """Return the name that tells presets which its file does not contradict, with them; metadata goes before names."""
    if called.preset is not None:
        return "", (called.preset,) if family.name in called.preset.families else ()
    title, found = next(((title, found) for title in called.titles if (found := told_by(title, family))), ("", ()))
    return title, tuple(preset for preset in found if not _contradicted(preset, training))


def _contradicted(preset: NamedPreset, training: Training | None) -> bool:
    """Tell whether a single file says that it was trained otherwise than the model that its name tells."""
    if training is None:
        return False
    predicted = preset.scheduler.get("prediction_type", "epsilon")
    otherwise = training.prediction not in (None, "flow", predicted)
    return otherwise or bool(training.zero_snr) or training.sigmas is not None


def _sample(pipe: Any, preset: NamedPreset, asked: Asked) -> None:
    sampler = pipe.scheduler
    if not asked.scheduler:
        other = asked.sampler is not None and preset.required_of(sampler) is not None
        sampler = preset.read_by(sampler) if other else preset.put_into(sampler)
    hold(pipe, preset, sampler)


def _otherwise(pipe: Any, preset: NamedPreset, asked: Asked) -> list[str]:
    """Return sentences about what was asked for in place of what a preset has."""
    said = []
    spacing = preset.scheduler.get("timestep_spacing")
    if not preset.is_in(pipe.scheduler):
        said.append(
            f"the preset {preset.name} is sampled by {preset.sampled}; {type(pipe.scheduler).__name__} is taken, as "
            "asked for"
        )
    elif asked.spacing is not None and spacing is not None and asked.spacing != spacing:
        said.append(f"the preset {preset.name} has {spacing} spacing; {asked.spacing} is taken, as asked for")
    return said


def _say(pipe: Any, preset: NamedPreset, asked: Asked, told: Mapping[str, tuple[str, tuple[NamedPreset, ...]]]) -> None:
    """Say what was assumed, by which name, and what to do if it is wrong."""
    by = " and ".join(
        f"{what}, which the list of models knows" if not title else f"{what}, by the name {shown(title, _SHOWN)!r}"
        for what, (title, _) in told.items()
    )
    text = f"assuming the preset {preset.name} ({preset.sampled}) of {by}"
    text = "; ".join([text, *_otherwise(pipe, preset, asked)])
    remedy = ("if it is wrong, give ", Argument("sampler"), " and ", Argument("num_steps"), ", or ", Argument("preset"))
    warnings.warn(AssumedSamplingWarning(text, argument="preset", remedy=remedy), stacklevel=3)


def _say_strength(preset: NamedPreset, loras: Sequence[Lora], family: type[PipelineBackbone] | None) -> None:
    """Say if the LoRA of a preset has another strength than it is made for: the one of that name, or the only one."""
    if preset.strength is None or family is None:
        return
    its = [lora for lora in loras if any(preset in _told(one, family)[1] for one in names_of_loras([lora]))]
    for lora in its or (loras if len(loras) == 1 else ()):
        if lora.strength == 1.0:
            problem = f"{preset.title} is made for a LoRA of the strength {preset.strength:g}, and is in full force"
            remedy = ("give ", Argument("lora", f"{lora.label}:{preset.strength:g}"))
            warnings.warn(AdapterWarning(problem, argument="lora", remedy=remedy), stacklevel=3)
