"""What an edit is asked for, checked: its settings, its rule, and the form of its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from renoise.config import InversionConfig
from renoise.edit_rules import EditRule
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.inversion import Inversion
from renoise.ranges import whole

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def require_rule(rule: Any) -> None:
    """Check that an edit rule is one; None is plain sampling.

    Raises:
        ConfigError: if it is none.
    """
    if rule is not None and (isinstance(rule, type) or not isinstance(rule, EditRule)):
        raise ConfigError(
            Argument("rule"),
            f" must be a value with a method advance and a number max_passes, not {seen(rule)}",
            remedy="see renoise.edit_rules.EditRule",
        )
    if rule is not None:
        whole(rule.max_passes, "max_passes", 1)


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
    config = own if num_steps in (None, own.num_steps) else own.overridden(num_steps=num_steps)
    return replace(config, **{name: value for name, value in asked.items() if value is not None})
