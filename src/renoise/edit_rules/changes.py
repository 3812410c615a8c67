"""The knobs of an edit, and the rule that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from renoise.edit_rules.base import EditRule, PlainSampling
from renoise.edit_rules.structure import DEFAULT_STRENGTH, KeepNothing, KeepStructure
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import number

# What an edit can keep without a mask.
KEEP = ("auto", "nothing")


@dataclass(frozen=True)
class Changes:
    """How much an edit changes, and what it keeps; None leaves it to what suits the inversion.

    Attributes:
        own: a rule in place of the other two.
        strength: how much changes, in [0, 1].
        keep: one of `KEEP`.
    """

    own: EditRule | None = None
    strength: float | None = None
    keep: str | None = None

    def rule(self, *, known: bool) -> EditRule:
        """Return the rule that these knobs stand for.

        Args:
            known: whether the inversion kept the source's walk.

        Raises:
            ConfigError: for knobs that want the source's walk where it is not known.
        """
        if self.own is not None:
            return self.own
        if not known:
            for name in ("strength", "keep"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        Argument(name),
                        " needs the source's latents, which this inversion did not keep or has in another number of "
                        "steps",
                        remedy=("invert with ", Argument("edit_data", "float32"), " and edit in as many steps"),
                    )
            return PlainSampling()
        strength = DEFAULT_STRENGTH if self.strength is None else self.strength
        return KeepNothing(strength) if self.keep == "nothing" else KeepStructure(strength)


def require_changes(rule: EditRule | None, strength: Any, keep: Any) -> Changes:
    """Return the knobs of an edit, checked.

    Raises:
        ConfigError: if they are out of range, unknown, or given beside a rule.
    """
    for name, value in (("strength", strength), ("keep", keep)):
        if rule is not None and value is not None:
            raise ConfigError(Argument(name), " has no meaning beside a rule", remedy="give the rule its own settings")
    if keep is not None and (not isinstance(keep, str) or keep not in KEEP):
        raise ConfigError(f"keep {seen(keep)} is unknown", argument="keep", remedy=f"use one of {', '.join(KEEP)}")
    return Changes(rule, None if strength is None else number(strength, "strength", 0.0, 1.0), keep)
