"""The option `--preset`: settings to begin with, and models of a few steps by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import typer

from renoise.cli import values
from renoise.cli.panels import model
from renoise.errors import ConfigError

# `renoise.config.VARIANTS`: the settings to begin with.
Preset = Literal["edit", "fast", "balanced", "exact", "paper", "released", "reverse"]
VARIANTS: tuple[str, ...] = get_args(Preset)


def _preset(text: Any) -> str:
    """Return the name of a preset: a variant, a model of a few steps, or both with a colon between them."""
    from renoise.named_presets import split

    return _checked(text, split)


def _few_step_model(text: Any) -> str:
    """Return the name of a model of a few steps."""
    from renoise.named_presets import named

    return _checked(text, named)


def _checked(text: Any, check: Callable[[str, tuple[str, ...]], object]) -> str:
    written = values.readable(text)
    try:
        check(written, VARIANTS)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    return written


def _models_of_few_steps(incomplete: str) -> list[str]:
    from renoise.named_presets import NAMED

    return [name for name in NAMED if name.startswith(incomplete)]


def _presets(incomplete: str) -> list[str]:
    return [name for name in VARIANTS if name.startswith(incomplete)] + _models_of_few_steps(incomplete)


# What `--preset` is where an image is inverted.
PRESET: Mapping[str, Any] = MappingProxyType(
    {
        "metavar": "NAME",
        "parser": _preset,
        "autocompletion": _presets,
        "help": "Settings to begin with: edit (the default), what edits are best with; fast, balanced or exact, noise "
        "that draws the image again by itself, from the fewest network passes to the truest; paper, the paper's "
        "for this model; released, those of its published code; or reverse, plain sampler reversing. Or the model "
        "of a few steps that this is, where its files do not tell, such as sdxl-lightning-4, alone or with one of "
        "these: sdxl-lightning-4:exact. renoise models lists both.",
    }
)
# And where a model is loaded for more than one inversion.
FewStepModel = Annotated[
    str | None,
    model(
        "--preset",
        metavar="NAME",
        parser=_few_step_model,
        autocompletion=_models_of_few_steps,
        help="The model of a few steps that this is, where its files do not tell, such as sdxl-lightning-4; renoise "
        "models lists them.",
    ),
]
