"""What an editor is asked for, checked: settings, sizes, the inversion of an edit, its rule and its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from renoise import edit_rules
from renoise.config import InversionConfig
from renoise.errors import Argument, ConfigError, ModelError
from renoise.escaping import seen
from renoise.fingerprint import fingerprint, same_model
from renoise.inversion import Inversion
from renoise.model import Model
from renoise.ranges import truth, whole

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
# What an inversion can keep for edits.
EDIT_DATA: Mapping[str, torch.dtype | None] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "none": None}
)


def require_config(config: Any) -> None:
    """Check that settings are those of an inversion.

    Raises:
        ConfigError: if they are not.
    """
    if not isinstance(config, InversionConfig):
        raise ConfigError(Argument("config"), f" must be an InversionConfig, not {seen(config)}")


def config_for(pipe: Any, config: InversionConfig | None) -> InversionConfig:
    """Return the settings of an inversion, or the preset for a pipeline in place of None.

    Raises:
        ConfigError: if they are none.
    """
    if config is None:
        return InversionConfig.for_pipeline(pipe)
    require_config(config)
    return config


def edit_data(asked: Any, config: InversionConfig) -> torch.dtype | None:
    """Return the floating-point type in which an inversion keeps the source's walk for edits; None keeps nothing.

    Args:
        asked: one of `EDIT_DATA`, or None for what suits the settings.
        config: the settings.

    Raises:
        ConfigError: if it is none of them.
    """
    if asked is None:
        return torch.float32 if config.walking.direct else None
    if not isinstance(asked, str) or asked not in EDIT_DATA:
        raise ConfigError(
            f"edit_data {seen(asked)} is unknown", argument="edit_data", remedy=f"use one of {', '.join(EDIT_DATA)}"
        )
    return EDIT_DATA[asked]


def asks_for_solved_steps(overrides: Mapping[str, Any]) -> bool:
    """Tell whether settings ask for parts of the method that no direct walk has a use for; off asks for nothing."""
    values = [overrides.get(name) for name in ("edit_losses", "noise_correction")]
    # What is no number is refused later, by its name.
    parts = [value for value in values if value is not None and not (isinstance(value, (int, float)) and value == 0)]
    return bool(parts) or overrides.get("iterations") is not None


def checked_size(size: Any) -> tuple[int, int]:
    """Return a size (height, width) in pixels.

    Raises:
        ConfigError: if it is no pair of whole numbers of at least 1.
    """
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ConfigError(Argument("size"), f" must be a pair (height, width) in pixels, not {seen(size)}")
    return whole(size[0], "size", 1), whole(size[1], "size", 1)


def require_rule(rule: Any) -> None:
    """Check that an edit rule is one; None is plain sampling.

    Raises:
        ConfigError: if it is none.
    """
    if rule is not None:
        edit_rules.require_rule(rule)


def require_inversion(inversion: Any) -> None:
    """Check that an inversion is one.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(inversion, Inversion):
        raise ConfigError(
            f"expected an Inversion, not {type(inversion).__name__}",
            argument="inversion",
            remedy="make one with editor.invert(...)",
        )


def require_same_model(inversion: Inversion, model: Model, name: str | None, *, force: bool) -> None:
    """Check that a model made an inversion.

    Args:
        inversion: the inversion.
        model: the model that is to draw it.
        name: what the model is called; None is one without a name.
        force: whether another model of the same latents will do.

    Raises:
        ModelError: if another model made it.
    """
    channels, own = inversion.latents.shape[1], model.backbone.latent_channels
    if channels != own:
        raise ModelError(
            f"the inversion's latents have {channels} channels, this model's {own}",
            argument="model",
            remedy="load the model that made the inversion",
        )
    if not truth(force, "force") and not same_model(inversion.fingerprint, fingerprint(model.pipe)):
        made_with = "another model" if inversion.model_name is None else repr(inversion.model_name)
        here = "the one loaded" if name is None else repr(name)
        raise ModelError(
            f"the inversion was made with {made_with}, which is not {here} as it is now, in its weights or in its "
            "adapters",
            argument="force",
            remedy=("load that model, or give ", Argument("force", True), " to edit with this one all the same"),
        )


def require_output_type(output_type: str) -> None:
    """Check that images can be given out as `output_type`.

    Raises:
        ConfigError: if they cannot.
    """
    if not isinstance(output_type, str) or output_type not in OUTPUT_TYPES:
        raise ConfigError(
            f"output_type {seen(output_type)} is unknown",
            argument="output_type",
            remedy=f"use one of {', '.join(OUTPUT_TYPES)}",
        )


def edit_config(own: InversionConfig, num_steps: int | None, asked: Mapping[str, Any]) -> InversionConfig:
    """Return an inversion's settings with those of an edit in their place, checked by the same rules.

    Args:
        own: the inversion's.
        num_steps: the length of the schedule; another one than the inversion's is the sampler's own, not its list.
        asked: further settings by name; None leaves one as it is.

    Raises:
        ConfigError: for a setting out of its range.
    """
    other = num_steps is not None and whole(num_steps, "num_steps", 1) != own.num_steps
    config = own.overridden(num_steps=num_steps) if other else own
    return replace(config, **{name: value for name, value in asked.items() if value is not None})
