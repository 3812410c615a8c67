"""Models of a few steps by name, for files that look like those of their base: how each is sampled, as data.

The data are in named_presets.toml, with the page of each model's makers. Nothing here imports torch before a scheduler
is looked at.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from renoise.backbones import PipelineBackbone, families_by_name, family_of
from renoise.errors import ConfigError
from renoise.escaping import seen
from renoise.preset_records import PRESET_RECORDS
from renoise.schedulers.names import SAMPLERS

# The attributes of a pipeline that hold the preset which it was loaded with, and the scheduler that it had without it.
# Users' own pipelines never get them.
_ATTRIBUTE, _BEFORE = "_renoise_preset", "_renoise_scheduler_before_preset"
# What stands between a named preset and the variant of its settings.
_BETWEEN = ":"


@dataclass(frozen=True)
class NamedPreset:
    """A model of a few steps.

    Attributes:
        name: the name by which it is asked for.
        title: the model in words.
        families: the short names of the families that it suits.
        settings: the key in `renoise.presets` of the settings that its own follow from.
        steps: the number of its steps.
        sampler: the short name of its sampler; None is that of its base.
        scheduler: the sampler's settings that differ from the base's.
        timesteps: the timesteps of its steps, where they are not those of the sampler.
        guidance: the guidance scale that its makers draw with; None is without guidance. It is told, and not applied.
        strength: the strength of its LoRA; None is 1.
        words: the words, or sequences of words, that tell it in the title or name of a LoRA; without any, no name does.
        never: words with which the name tells something else.
        counted: whether a name has to say the number of steps as well.
        source: the page that says so.

    Examples:
        >>> NAMED["sdxl-lightning-4"].steps
        4
    """

    name: str
    title: str
    families: tuple[str, ...]
    settings: str
    steps: int
    source: str
    sampler: str | None = None
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    timesteps: tuple[int, ...] | None = None
    guidance: float | None = None
    strength: float | None = None
    words: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    counted: bool = True

    @property
    def sampled(self) -> str:
        """How it is sampled, in words.

        Examples:
            >>> NAMED["dmd2-4"].sampled
            '4 steps at 999, 749, 499, 249, lcm'
        """
        said = {
            key: f"{value:.4g}" if isinstance(value, float) else f"{value}" for key, value in self.scheduler.items()
        }
        spacing = said.pop("timestep_spacing", None)
        at = "" if self.timesteps is None else f" at {', '.join(map(str, self.timesteps))}"
        parts = [f"{self.steps} {'step' if self.steps == 1 else 'steps'}{at}"]
        parts += [self.sampler or "the model's own sampler"]
        parts += [] if spacing is None else [f"{spacing} spacing"]
        parts += [f"{key} {value}" for key, value in said.items()]
        return ", ".join(parts)

    @property
    def described(self) -> str:
        """How it is sampled and what it is made for besides, in words.

        Examples:
            >>> NAMED["hyper-sd3-4"].described
            "4 steps, the model's own sampler; made for a guidance of 3 and a LoRA of the strength 0.125"
        """
        made = [] if self.guidance is None else [f"a guidance of {self.guidance:g}"]
        made += [] if self.strength is None else [f"a LoRA of the strength {self.strength:g}"]
        return f"{self.sampled}; made for {' and '.join(made)}" if made else self.sampled

    def required_of(self, scheduler: Any) -> str | None:
        """Return the class of its sampler where a scheduler is none of that class; None where it is, or any will do."""
        wanted = None if self.sampler is None else SAMPLERS[self.sampler]
        return None if wanted in (None, type(scheduler).__name__) else wanted

    def is_in(self, scheduler: Any) -> bool:
        """Tell whether a scheduler samples as it wants."""
        config = scheduler.config
        return self.required_of(scheduler) is None and all(
            key in config and config[key] == value for key, value in self.scheduler.items()
        )

    def put_into(self, scheduler: Any) -> Any:
        """Return a scheduler that samples as it wants, on the noise levels of another one, which is not changed.

        Raises:
            SchedulerError: if its sampler is made for another kind of model.
        """
        from renoise.schedulers import exchanged

        if self.is_in(scheduler):
            return scheduler
        return exchanged(scheduler, self.required_of(scheduler) or type(scheduler).__name__, **self.scheduler)

    def read_by(self, scheduler: Any) -> Any:
        """Return a scheduler of any class that reads its network as it was trained; the given one is not changed.

        What a network predicts belongs to the network, so that another sampler than the preset's needs it as well.

        Raises:
            SchedulerError: if the scheduler cannot sample such a network.
        """
        from renoise.schedulers import exchanged
        from renoise.schedulers.exchange import TRAINED

        trained = {key: value for key, value in self.scheduler.items() if key in TRAINED}
        return exchanged(scheduler, type(scheduler).__name__, **trained) if trained else scheduler


def _read(name: str, table: Mapping[str, Any]) -> NamedPreset:
    """Return the preset of a table; a key that it does not have is a `TypeError`."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key != "unset"
    }
    # What is unset has the value None, which a table cannot hold.
    changes = {**table.get("scheduler", {}), **dict.fromkeys(table.get("unset", ()))}
    return NamedPreset(name, **{**values, "scheduler": changes})


# The presets by name.
NAMED: Mapping[str, NamedPreset] = MappingProxyType(
    {
        name: _read(name, table)
        for name, table in tomllib.loads((files("renoise") / "named_presets.toml").read_text(encoding="utf-8")).items()
    }
)


def split(preset: Any, variants: Sequence[str]) -> tuple[NamedPreset | None, str | None]:
    """Return the named preset and the variant that a text stands for.

    Args:
        preset: a variant, a named preset, or both with a colon between them; None stands for neither.
        variants: the variants that there are.

    Raises:
        ConfigError: if there is no such preset.

    Examples:
        >>> model, variant = split("sdxl-lightning-4:exact", ["edit", "exact"])
        >>> model.name, variant
        ('sdxl-lightning-4', 'exact')
        >>> split("exact", ["edit", "exact"])
        (None, 'exact')
    """
    if preset is None:
        return None, None
    near: list[str] = []
    if isinstance(preset, str):
        if preset in variants:
            return None, preset
        name, between, variant = preset.partition(_BETWEEN)
        if name in NAMED:
            if not between or variant in variants:
                return NAMED[name], variant or None
            raise ConfigError(
                f"preset {seen(preset)} is unknown",
                argument="preset",
                remedy=f"give {name} alone, or with one of these after its colon: {', '.join(variants)}",
            )
        if preset in _settings_of_models(variants):
            alike = [one for one in NAMED if one.startswith(f"{preset}-")]
            raise ConfigError(
                f"preset {seen(preset)} cannot be given: it is what models of that kind have by themselves",
                argument="preset",
                remedy=f"leave it out, or use one of {', '.join(variants)}"
                + (f"; for a model of a few steps that does not tell use {' or '.join(alike)}" if alike else ""),
            )
        near = difflib.get_close_matches(name.strip().lower(), NAMED, n=3, cutoff=0.6)
    some = " or ".join(near) if near else "sdxl-lightning-4"
    raise ConfigError(
        f"preset {seen(preset)} is unknown",
        argument="preset",
        remedy=f"for a model of a few steps use its name, such as {some}, or {near[0] if near else 'sdxl-lightning-4'}:"
        f"{variants[0]} (renoise models lists them); for others use one of {', '.join(variants)}",
    )


def _settings_of_models(variants: Sequence[str]) -> set[str]:
    """Return the names in presets.toml of what models have by themselves, which `renoise models` tells."""
    return {name for name in PRESET_RECORDS if not name.startswith(tuple(variants))}


def named(preset: Any, variants: Sequence[str]) -> NamedPreset | None:
    """Return the named preset that a text stands for, without a variant; None for None.

    Raises:
        ConfigError: if it is none, or has a variant, which says how to invert and not how a model is sampled.
    """
    model, variant = split(preset, variants)
    if variant is not None:
        raise ConfigError(
            f"preset {seen(preset)} says how to invert, and not how a model is sampled alone",
            argument="preset",
            remedy="name a model of a few steps alone here, such as sdxl-lightning-4, and give the rest to the "
            "settings of the inversion (Editor.config in Python)",
        )
    return model


def held(pipe: Any) -> NamedPreset | None:
    """Return the preset that a pipeline was loaded with, or None."""
    preset = getattr(pipe, _ATTRIBUTE, None)
    return preset if isinstance(preset, NamedPreset) else None


def hold(pipe: Any, preset: NamedPreset, sampler: Any) -> None:
    """Have a pipeline of the library's own sample as a preset has it, and remember that.

    Args:
        pipe: the pipeline.
        preset: the preset.
        sampler: the pipeline's scheduler with the preset.
    """
    before = without_preset(pipe)
    pipe.scheduler = sampler
    setattr(pipe, _ATTRIBUTE, preset)
    setattr(pipe, _BEFORE, before)


def without_preset(pipe: Any) -> Any:
    """Return the scheduler that a pipeline had before it was given a preset; its own, if it has none.

    Another preset begins with this one, so that nothing of the first is left over.
    """
    return pipe.scheduler if held(pipe) is None else getattr(pipe, _BEFORE)


def require_family(preset: NamedPreset, family: type[PipelineBackbone] | None, what: str) -> None:
    """Check that a preset suits a family.

    Args:
        preset: the preset.
        family: the family; None if it is not known.
        what: the model, in words.

    Raises:
        ConfigError: if it does not.
    """
    if family is None or family.name not in preset.families:
        known = families_by_name()
        titles = " and ".join(known[one].title if one in known else one for one in preset.families)
        raise ConfigError(
            f"the preset {preset.name} is for models of {titles}, and not for {what}",
            argument="preset",
            remedy="leave it out, or name the model that it is for",
        )


def require_sampled(preset: NamedPreset, pipe: Any) -> None:
    """Check that a pipeline is sampled as a preset wants it; what was loaded with the preset may be sampled otherwise.

    Raises:
        ConfigError: if it is not, or if the preset is for another family.
    """
    require_family(preset, family_of(pipe), f"a {type(pipe).__name__}")
    if held(pipe) == preset or preset.is_in(pipe.scheduler):
        return
    raise ConfigError(
        f"the preset {preset.name} wants another sampling ({preset.sampled}) than the pipeline has "
        f"({type(pipe.scheduler).__name__}), and a pipeline is never changed",
        argument="preset",
        remedy=f'take Editor(pipe).with_preset("{preset.name}"), or load the model with this preset',
    )
