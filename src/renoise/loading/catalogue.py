"""Well-known models of the supported families, read from `models.toml`; without torch, to answer at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from renoise.backbones import families_by_name
from renoise.config import presets
from renoise.errors import ModelError
from renoise.named_presets import NAMED

# The bytes of a weight in each floating-point type.
BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2})


@dataclass(frozen=True)
class Weights:
    """The number of a model's weights, in billions, by part; a safety checker is never loaded and not counted.

    Examples:
        >>> Weights(0.86, 0.123, 0.084).gigabytes("float16")
        2.134
    """

    network: float
    text_encoders: float = 0.0
    autoencoder: float = 0.0

    @property
    def total(self) -> float:
        """The number of all weights, in billions."""
        return self.network + self.text_encoders + self.autoencoder

    def gigabytes(self, dtype: str) -> float:
        """Return the memory that the weights alone take, in units of 10^9 bytes; a run needs more.

        Raises:
            KeyError: if the dtype is none of `BYTES`.
        """
        return self.total * BYTES[dtype]


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        name: the hub name, or the name of a bundled model.
        title: the name by which people know it.
        family: the short name of its family (see `renoise.backbones`).
        preset: the key in `renoise.presets` of the settings that it gets by default.
        side: the side of the square images that it was made for, in pixels.
        weights: the number of its weights; those of an adapter come on top of its base's.
        licence: the licence of the weights, by the name that the card gives it; None means "see its card".
        gated: whether the hub asks for a login and for consent; None means "see its card".
        dtype: the floating-point type that suits it on a GPU.
        holds: what its repository holds: a whole pipeline, a LoRA adapter, or a denoising network alone.
        base: the model that an adapter or a lone network goes with.
        steps: the number of sampler steps that suits it, if that of the preset does not.
        sampler: the short name of the sampler that it needs, if its base comes with another.
        named: its preset in `renoise.named_presets`, if its files do not tell that it draws in a few steps.
        file: the file of its weights, if its repository holds several.
        bundled: whether it comes with `renoise-mini` and not from the hub.
        note: a sentence with what else to know.
    """

    name: str
    title: str
    family: str
    preset: str
    side: int | None
    weights: Weights
    licence: str | None = None
    gated: bool | None = False
    dtype: str = "float16"
    holds: Literal["pipeline", "adapter", "network"] = "pipeline"
    base: str | None = None
    steps: int | None = None
    sampler: str | None = None
    named: str | None = None
    file: str | None = None
    bundled: bool = False
    note: str = ""

    @property
    def num_steps(self) -> int:
        """The number of sampler steps that suits it."""
        if self.steps is not None:
            return self.steps
        return presets[self.preset].num_steps if self.named is None else NAMED[self.named].steps

    @property
    def page(self) -> str | None:
        """The page with its card and its licence; None for bundled models, whose licence is in their package."""
        return None if self.bundled else f"https://huggingface.co/{self.name}"


def _entry(table: Mapping[str, Any]) -> Entry:
    """Return the entry of a table in `models.toml`; a key that an entry does not have is a `TypeError`."""
    weights = Weights(**{**table["weights"], "text_encoders": sum(table["weights"].get("text_encoders", ()), 0.0)})
    precision = families_by_name()[table["family"]].precision
    gated = None if table.get("gated") == "card" else table.get("gated", False)
    return Entry(**{"dtype": precision, **table, "weights": weights, "gated": gated})


_DATA = tomllib.loads(resources.files(__package__).joinpath("models.toml").read_text(encoding="utf-8"))
MODELS: tuple[Entry, ...] = tuple(map(_entry, _DATA["models"]))
# The short name of the sampler that each preset in `renoise.presets` is made for.
PRESET_SAMPLERS: Mapping[str, str] = MappingProxyType(_DATA["samplers"])


def find(name: str) -> Entry | None:
    """Return the entry with exactly that name, or None."""
    return next((entry for entry in MODELS if entry.name == name), None)


def resolve(name: str, others: tuple[str, ...] = ()) -> str:
    """Return the full name of a model that is asked for by that name or by its last part, in any case of letters.

    Args:
        name: what was asked for.
        others: names that count besides those of the catalogue.

    Raises:
        ModelError: if no model is called so, or several are; the remedy names near matches, if there are any.

    Examples:
        >>> resolve("SDXL-Turbo")
        'stabilityai/sdxl-turbo'
    """
    known = [*(entry.name for entry in MODELS), *others]
    asked = name.strip().lower()
    hits = [full for full in known if asked in (full.lower(), full.lower().rpartition("/")[2])]
    if len(hits) == 1 or name in hits:
        return name if name in hits else hits[0]
    if hits:
        raise ModelError(f"{name!r} may be {' or '.join(hits)}", remedy="give the whole name")
    parts = {part: full for full in known for part in (full.lower(), full.lower().rpartition("/")[2])}
    near = list(dict.fromkeys(parts[part] for part in difflib.get_close_matches(asked, parts, n=4, cutoff=0.5)))
    remedy = f"did you mean {' or '.join(near)}?" if near else ()
    raise ModelError(f"there is no model {name[:80]!r} in the catalogue", remedy=remedy)
