"""The presets that the page offers, with what each costs."""

from __future__ import annotations

from dataclasses import dataclass

from renoise import Editor
from renoise.config import DEFAULT_VARIANT, InversionConfig
from renoise.measured import MEASURED

# The presets of the page, in the order in which they are offered.
OFFERED = ("edit", "fast", "balanced", "exact", "paper")
_ABOUT = {
    "edit": "best for edits",
    "fast": "true noise in few passes",
    "balanced": "truer noise",
    "exact": "the truest noise",
    "paper": "the paper's settings",
}


@dataclass(frozen=True)
class Choice:
    """A preset as it is offered.

    Attributes:
        name: one of `renoise.config.VARIANTS`.
        steps: its sampler steps with this model.
        passes: about how many network passes an inversion takes.
        default: whether it is the one to begin with.
    """

    name: str
    steps: int
    passes: int
    default: bool

    @property
    def label(self) -> str:
        """The preset in words.

        Examples:
            >>> Choice("edit", 4, 4, True).label
            'edit: best for edits, 4 passes'
        """
        return f"{self.name}: {_ABOUT[self.name]}, {'' if self.name == 'edit' else 'about '}{self.passes} passes"


def choices(editor: Editor) -> list[Choice]:
    """Return the presets for a model, each with about how many network passes its inversions take."""
    found = []
    for name in OFFERED:
        config = editor.config(name)
        found.append(Choice(name, config.num_steps, _passes(editor, name, config), name == DEFAULT_VARIANT))
    return found


def _passes(editor: Editor, name: str, config: InversionConfig) -> int:
    """Return the passes of an inversion: one a step of a direct walk, as measured, or the bound of the settings."""
    timesteps = editor.timesteps(config)
    if config.walking.direct:
        return len(timesteps)
    kind = "few steps" if config.few_steps else "flow" if editor.model.backbone.flow else "many steps"
    measured = [one.passes for one in MEASURED if (one.preset, one.kind) == (name, kind)]
    if measured:
        return round(measured[0])
    return sum(config.passes_at(timestep) for timestep in timesteps)
