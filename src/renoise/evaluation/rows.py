"""One row of a run, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renoise import InversionConfig
from renoise.evaluation.methods import Method

# The presets that a model has, by the name of the variant (see `InversionConfig.for_pipeline`).
Presets = Mapping[str, InversionConfig]


@dataclass(frozen=True)
class Row:
    """One row of a run.

    Attributes:
        label: the row's name in tables.
        method: how it inverts.
        prompt: a prompt that replaces every image's caption; None keeps the captions.
        guidance: guidance scale of drawing; None is the method's own.
        series: the name of the line to which the row belongs in plots against network passes; None is the row's own.
    """

    label: str
    method: Method
    prompt: str | None = None
    guidance: float | None = None
    series: str | None = None
