"""The knobs of an edit, and the rule that they stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from renoise.edit_rules.base import EditRule, PlainSampling, TellingRule
from renoise.edit_rules.masks import Masked
from renoise.edit_rules.structure import DEFAULT_STRENGTH, KeepNothing, KeepStructure
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import number, truth

# What an edit can keep without a mask.
KEEP = ("auto", "nothing")
# What can be a mask.
_MASKS = (os.PathLike, Image.Image, np.ndarray, Tensor, list, tuple)


@dataclass(frozen=True)
class Changes:
    """How much an edit changes, and what it keeps; None leaves it to what suits the inversion.

    Attributes:
        own: a rule in place of `strength` and `keep`.
        strength: how much changes, in [0, 1].
        keep: one of `KEEP`.
        mask: says where the image may change (see `renoise.masks.read`).
        told: whether the edit shall tell where it changed the image.

    Raises:
        ConfigError: for a strength out of its range, or something unknown to keep.
    """

    own: EditRule | None = None
    strength: float | None = None
    keep: str | None = None
    mask: Any = None
    told: bool = False

    def __post_init__(self) -> None:
        if self.strength is not None:
            number(self.strength, "strength", 0.0, 1.0)
        if self.keep is not None and (not isinstance(self.keep, str) or self.keep not in KEEP):
            raise ConfigError(
                f"keep {seen(self.keep)} is unknown", argument="keep", remedy=f"use {', '.join(KEEP)} or a mask"
            )

    def rule(self, *, known: bool, mask: Tensor | None = None) -> EditRule:
        """Return the rule that these knobs stand for.

        Args:
            known: whether the inversion kept the source's walk.
            mask: the mask at the latents' size, (B, 1, h, w); None without one.

        Raises:
            ConfigError: for knobs that want the source's walk where it is not known.
        """
        self.require_known(known=known)
        rule = self._inner(known=known) if self.own is None else self.own
        if self.told and not isinstance(rule, TellingRule):
            raise ConfigError(
                f"the rule {seen(rule)} cannot tell where it changes an image",
                argument="return_masks",
                remedy=("leave out ", Argument("return_masks"), ", or give the rule a method changed"),
            )
        return rule if mask is None else Masked(rule, mask)

    def require_known(self, *, known: bool) -> None:
        """Check that an inversion kept what these knobs want.

        Args:
            known: whether it kept the source's walk.

        Raises:
            ConfigError: if it did not.
        """
        told = self.told and self.own is None
        asked = {"strength": self.strength, "keep": self.keep, "mask": self.mask, "return_masks": told or None}
        for name, value in asked.items():
            if value is not None and not known:
                raise ConfigError(
                    Argument(name),
                    " needs the source's latents, which this inversion did not keep or has in another number of steps",
                    remedy=("invert with ", Argument("edit_data", "float32"), " and edit in as many steps"),
                )

    def settled(self, *, known: bool, strength: float | None = None) -> tuple[float | None, str | None]:
        """Return the strength and what is kept, with the defaults in place of None; None where they mean nothing.

        Args:
            known: whether the inversion kept the source's walk.
            strength: another strength than this one's; None is this one's.
        """
        if not known or self.own is not None:
            return None, None
        given = self.strength if strength is None else strength
        return DEFAULT_STRENGTH if given is None else given, self.keep or KEEP[0]

    def _inner(self, *, known: bool) -> EditRule:
        strength, keep = self.settled(known=known)
        if strength is None:
            return PlainSampling()
        return KeepNothing(strength) if keep == "nothing" else KeepStructure(strength)


def require_changes(
    rule: EditRule | None, strength: Any, keep: Any, mask: Any = None, return_masks: Any = False
) -> Changes:
    """Return the knobs of an edit, checked; a mask is read later.

    Raises:
        ConfigError: if they are out of range, unknown, given twice, or given beside a rule.
    """
    if isinstance(keep, _MASKS):
        if mask is not None:
            raise ConfigError(Argument("keep"), " and ", Argument("mask"), " are both masks", remedy="give one of them")
        keep, mask = None, keep
    for name, value in (("strength", strength), ("keep", keep)):
        if rule is not None and value is not None:
            raise ConfigError(Argument(name), " has no meaning beside a rule", remedy="give the rule its own settings")
    share = None if strength is None else number(strength, "strength", 0.0, 1.0)
    return Changes(rule, share, keep, mask, truth(return_masks, "return_masks"))
